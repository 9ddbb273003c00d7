//! `http`: an HTTP/1.1 server on hyper over our sockets, one lane a connection.

use std::convert::Infallible;

use actors::{Lane, spawn};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use net::TcpStream;

use super::echo;
use crate::run::{Keys, Usage, Work};

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    echo::serve(keys, |stream| {
        spawn(async move |_: Lane<()>| {
            // Who goes away in the middle has heard enough.
            let _ = answer(stream).await;
        })
        .expect("a lane for the connection");
    })
}

async fn answer(stream: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.adopt()?;
    stream.set_nodelay(true)?;
    http1::Builder::new().serve_connection(stream, service_fn(hello)).await?;
    Ok(())
}

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"Hello, World!")));
    if request.method() == Method::GET {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    } else {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    }
    Ok(response)
}
