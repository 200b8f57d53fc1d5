//! The facade in the shape of Qt's classes.

mod beyond_qt;
mod beyond_qt_data;
mod beyond_qt_limits;
mod core;
mod fixtures;
mod names;
mod network;
mod tst_qdtls;
mod tst_qdtls_verification;
mod tst_qdtlscookie;
