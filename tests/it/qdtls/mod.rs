//! The Qt-shaped facade.

mod core;
