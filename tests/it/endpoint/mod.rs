//! Endpoints: many connections behind one socket.

mod basics;
mod floods;
mod limits;
mod network;
mod restart;
mod verbs;
mod world;
