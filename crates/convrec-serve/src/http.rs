//! From requests to answers, on some threads.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use burn::tensor::Device;
use convrec_policy::Policy;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tiny_http::{Header, Method, Response, Server};

use super::engine::Engine;
use super::{Refusal, Served, bad_field, chat, completions};

/// Bytes of a request; longer ones are refused.
const LONGEST: u64 = 16 << 20;

/// A server at work.
pub struct Serving {
    server: Arc<Server>,
    threads: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Where it listens.
    ///
    /// # Panics
    /// Never: it listens to an address of the network.
    pub fn address(&self) -> SocketAddr {
        self.server
            .server_addr()
            .to_ip()
            .expect("it was bound to an address of the network")
    }

    /// Waits for as long as it works.
    pub fn wait(self) {
        self.threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap_or_default());
    }

    /// Ends it once what is under way has been answered.
    pub fn stop(self) {
        self.threads.iter().for_each(|_| self.server.unblock());
        self.wait();
    }
}

/// Serves a policy at an address, as `127.0.0.1:8000`; so many requests are under way at once.
///
/// # Errors
/// When it cannot listen there.
pub fn serve(
    policy: Policy,
    served: Served,
    device: Device,
    address: &str,
    threads: usize,
) -> Result<Serving, Box<dyn std::error::Error>> {
    let server = Server::http(address).map_err(|e| format!("cannot listen at {address}: {e}"))?;
    let (server, served) = (Arc::new(server), Arc::new(served));
    let engine = Engine::start(policy, served.clone(), device);
    let thread = |_| {
        let (server, served, engine) = (server.clone(), served.clone(), engine.clone());
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                answer(request, &served, &engine);
            }
        })
    };
    let threads = (0..threads.max(1)).map(thread).collect();
    Ok(Serving { server, threads })
}

fn answer(mut request: tiny_http::Request, served: &Served, engine: &Engine) {
    let (status, body) = match route(&mut request, served, engine) {
        Ok(body) => (200, body),
        Err(Refusal { status, message }) => (
            status,
            json!({ "error": { "message": message, "code": status } }),
        ),
    };
    let json = Header::from_bytes("Content-Type", "application/json").expect("a header of ASCII");
    let response = Response::from_string(body.to_string())
        .with_status_code(status)
        .with_header(json);
    // Who asked may be gone.
    request.respond(response).unwrap_or_default();
}

fn route(
    request: &mut tiny_http::Request,
    served: &Served,
    engine: &Engine,
) -> Result<Value, Refusal> {
    let url = request.url().to_string();
    match (request.method(), url.split('?').next().unwrap_or_default()) {
        (Method::Get, "/health") => Ok(json!({ "status": "ok" })),
        (Method::Get, "/v1/models") => Ok(models(served)),
        (Method::Post, "/v1/completions") => {
            read::<completions::Request>(request)?.answer(served, engine)
        }
        (Method::Post, "/v1/chat/completions") => {
            read::<chat::Request>(request)?.answer(served, engine)
        }
        (Method::Post, "/reload") => reload(&read::<Reload>(request)?, served, engine),
        (method, path) => {
            let known = "GET /health, GET /v1/models, POST /v1/completions, POST /v1/chat/completions or POST /reload";
            Err(Refusal {
                status: 404,
                message: format!("{method} {path} is not known here; expected {known}"),
            })
        }
    }
}

fn models(served: &Served) -> Value {
    let model = json!({
        "id": served.name, "object": "model", "owned_by": "convrec", "max_model_len": served.config.max_position_embeddings,
    });
    json!({ "object": "list", "data": [model] })
}

/// The body, as what the endpoint expects.
fn read<T: DeserializeOwned>(request: &mut tiny_http::Request) -> Result<T, Refusal> {
    let mut body = Vec::new();
    let read = request.as_reader().take(LONGEST + 1).read_to_end(&mut body);
    read.map_err(|e| Refusal::bad(format!("the request ends early: {e}")))?;
    if body.len() as u64 > LONGEST {
        return Err(Refusal {
            status: 413,
            message: format!("expected a request of at most {LONGEST} bytes"),
        });
    }
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(&body)).map_err(
        |e| match e.path().to_string().as_str() {
            "." => Refusal::bad(e.inner().to_string()),
            field => bad_field(field, e.inner()),
        },
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reload {
    path: PathBuf,
}

fn reload(request: &Reload, served: &Served, engine: &Engine) -> Result<Value, Refusal> {
    let refuse = |message: String| Refusal {
        status: 403,
        message,
    };
    let Some(below) = &served.weights else {
        return Err(refuse(
            "no weights are loaded here; expected a server with `--weights`".into(),
        ));
    };
    let whole = |path: &Path| {
        path.canonicalize()
            .map_err(|e| bad_field("path", format!("{}: {e}", path.display())))
    };
    // With links resolved: nobody is led out of the folder.
    let path = whole(&request.path)?;
    if !path.starts_with(whole(below)?) {
        let (path, below) = (request.path.display(), below.display());
        return Err(refuse(format!(
            "field `path`: {path}; expected a folder below {below}, as `--weights` says"
        )));
    }
    engine.reload(path)?;
    Ok(json!({ "success": true, "path": request.path }))
}
