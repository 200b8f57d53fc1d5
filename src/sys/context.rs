//! placeholder until the context branch lands
