//! The server, as a process that may be killed.

use std::net::TcpListener;
use std::path::PathBuf;

use burn::tensor::Device;
use convrec_serve::{EngineLimits, Server, ServerConfig};

use crate::support::flags::Flags;
use crate::support::model;

/// The variable with the key of the operator.
pub const KEY: &str = "CONVREC_ADMIN_KEY";

pub fn serve(flags: &Flags) {
    let device = Device::flex();
    let catalog = model::catalog(flags);
    let model = model::model(flags, &catalog, &device);
    let engine = EngineLimits::default();
    let config = ServerConfig::new("soak")
        .admin_keys(std::env::var(KEY))
        .engine(EngineLimits {
            prefix: flags.value("prefix-tokens", engine.prefix),
            ..engine
        })
        .weights(flags.value("weights", PathBuf::new()));
    let server = Server::new(model, Some(catalog), device, config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    if let Err(problem) = convrec_serve::serve(listener, server) {
        eprintln!("error: {problem}");
        std::process::exit(1);
    }
}
