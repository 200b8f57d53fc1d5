//! Endpoints: many connections behind one socket.

mod basics;
mod restart;
mod world;
