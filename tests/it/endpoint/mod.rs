//! Endpoints: many connections behind one socket.

mod basics;
mod network;
mod restart;
mod world;
