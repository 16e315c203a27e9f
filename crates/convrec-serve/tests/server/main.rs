//! A server on the loopback with a tiny model, asked over HTTP.

mod bodies;
mod chat;
mod common;
mod completions;
mod connections;
mod crowds;
mod guard;
mod hostile;
mod packed;
mod page;
mod prefix;
mod recommend;
mod reload;
mod retriever;
mod rollouts;
mod several;
mod unfit;
