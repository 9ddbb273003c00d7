//! A web server whose memory is bounded by arithmetic: each request is a lane with a bucket of its own.
//!
//! The idea is that of servers which give each request an arena. A bucket of fixed size is taken from a pool when a request
//! comes, all that is made for the request lies in it, and it is emptied in one step when the answer is there. A request
//! that wants more jumps out of whatever it was in (in C, by `longjmp`), and gets a 500; its neighbours do not notice. As
//! there are so many buckets and no more, what the whole server can come to take is a product. Here the bucket is the
//! budget of a lane, its arena is where the request works, and the jump is the lane's death.
//!
//! What such a server promises, and how it is kept:
//!
//! 1. *A firm upper bound.* Each lane is spawned with a budget, under one limit for all of them, and the limit is reserved for,
//!    not hoped for. What comes on top (stacks, tables, the program) is added up by name, in `plan`, and printed at the start;
//!    `/metrics` has it beside what there is. The load test samples the resident memory against it.
//! 2. *A bucket a request, of a size that is set at the start* and needs no rebuild: `--memory`, `--bucket`. The chunks of arenas
//!    are mapped when they are needed first, and then go from one request to the next.
//! 3. *Without a free bucket, a request waits or is refused*: first come, first served, for `--wait`; then 503 with
//!    `Retry-After`. The page counts who waits and who was sent away. A connection for which there is no place waits in the
//!    listener's backlog, and those that have one then end with their next answer.
//! 4. *Who overflows gets a 500*, with the reason in its body and in the log, by request, path and lane; the bucket is free by
//!    the lane's death. So it is with panics, and with those that do not end in time, which get a 504.
//! 5. *No jump over frames.* That would be unsound in Rust. The arena unwinds instead, or gives an error to code that asks; what
//!    allocates otherwise is counted, and the lane ends at its next await. No unsafe code is in sight.
//! 6. *What it costs is said.* All buckets are of one size and always reserved, so most of their memory is idle: the page has how
//!    much of theirs requests have used. A connection has a budget too, as somebody has to wait somewhere.
//! 7. *Capacity by arithmetic*: `--plan` prints how many connections and buckets the memory is enough for.
//! 8. *Collections that ask before they grow*: `/json` writes into a text of the arena after `try_grow`, and answers if there is
//!    no room; `/work` does not ask, and is ended.
//!
//! Read it in this order. `routes` (what is asked for), `answer` (what is told) and `plan` (the arithmetic) are pure. `work` is
//! what a request's lane does, `request` how it comes by its bucket and ends, `connection` one client, with hyper, `server` what all
//! share, and the lane that listens, `metrics` the page.
//!
//! HTTP/1.1 only. HTTP/2 would be more than a switch: its streams, windows and header tables are memory that the client has a say
//! in, for which a connection's budget would have to be many times as large.
#![forbid(unsafe_code)]

mod answer;
mod connection;
mod metrics;
mod options;
mod plan;
mod request;
mod routes;
mod server;
mod work;

use std::alloc::System;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::{FutureExt, pin_mut, select_biased};
use laneway::alloc::Accounting;
use laneway::net::TcpListener;
use laneway::runtime::memory_bound::display_bytes;
use laneway::signal::{self, SignalKind};
use laneway::{Runtime, ShutdownReport, Spawn, join, sleep, time};

use crate::metrics::Death;
use crate::options::Options;
use crate::plan::{CONNECTION, Plan, Term};
use crate::server::{Server, listen};

/// What code of lanes takes by `Box` and `Vec` counts as well as what it takes from its arena.
#[global_allocator]
static ALLOCATOR: Accounting<System> = Accounting::new(System);

/// How long lanes get to end when the runtime stops.
const SHUTDOWN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let options = Options::parse();
    // The usual hook would read the program's symbols to print a backtrace, where one is asked for: that is more memory than
    // all lanes have together.
    std::panic::set_hook(Box::new(|info| eprintln!("webserver: {info}")));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match run(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("webserver: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let plan = Plan::new(options)?;
    let builder = Runtime::builder().workers(options.workers.into());
    let runtime = builder.memory_limit(plan.memory).max_lanes(plan.lanes()).build()?;
    let server = Arc::new(Server::new(plan, options, runtime.handle().clone()));
    tell(&server);
    if options.plan {
        return Ok(ExitCode::SUCCESS);
    }
    let code = runtime.block_on(serve(options, &server))?;
    report(&runtime.shutdown(SHUTDOWN), &server);
    Ok(code)
}

/// What the memory is enough for, and the sum that it cannot pass.
fn tell(server: &Server) {
    let Plan { memory, bucket, connections } = server.plan;
    let [memory, bucket, connection] = [memory, bucket, CONNECTION].map(display_bytes);
    let buckets = server.plan.buckets();
    println!("webserver: {memory} for lanes: {bucket} a request, {connection} a connection");
    println!("webserver: at most {connections} connections, and {buckets} requests at a time");
    for Term { name, bytes, how } in &server.bound {
        println!("webserver: {:>10}  {name}: {how}", display_bytes(*bytes));
    }
    let bound = server.bound.iter().map(|term| term.bytes).sum();
    println!("webserver: bound {bound} bytes, {}", display_bytes(bound));
}

/// Serves until a signal, or until the time is over.
async fn serve(options: &Options, server: &Arc<Server>) -> Result<ExitCode, Box<dyn Error>> {
    let socket = TcpListener::bind((options.listen, options.port))
        .map_err(|error| format!("{}:{}: {error}", options.listen, options.port))?;
    let address = socket.local_addr()?;
    let (mut interrupt, mut terminate) =
        (signal::subscribe(SignalKind::interrupt())?, signal::subscribe(SignalKind::terminate())?);
    let listener = Spawn::new().mailbox(server::MAILBOX).memory(server::budget(server.plan.connections)).spawn({
        let server = server.clone();
        move |lane| listen(lane, socket, server)
    })?;
    println!("webserver: listening on http://{address}/, {} workers", options.workers);
    let over = async {
        match options.run_for {
            Some(length) => sleep(length).await,
            None => std::future::pending().await,
        }
    };
    let (ended, over) = (join(listener.id()).fuse(), over.fuse());
    pin_mut!(ended, over);
    let code = select_biased! {
        _ = interrupt.recv().fuse() => ExitCode::SUCCESS,
        _ = terminate.recv().fuse() => ExitCode::SUCCESS,
        () = over => ExitCode::SUCCESS,
        reason = ended => {
            eprintln!("webserver: the listener ended: {reason}");
            ExitCode::FAILURE
        }
    };
    // First nobody comes in any more, then whoever is in is served, and what is left ends with the runtime.
    listener.kill();
    server.closing.send_replace(true);
    let until = time::now() + server.wait + server.deadline;
    while server.board.connections.get() > 0 && time::now() < until {
        sleep(Duration::from_millis(5)).await;
    }
    Ok(code)
}

fn report(report: &ShutdownReport, server: &Server) {
    let (board, metrics) = (&server.board, &report.metrics);
    println!("webserver: {} answers, {} refused for want of a bucket", board.answered(), board.refused.get());
    println!(
        "webserver: of {} requests with a bucket {} went over it, {} panicked, {} were late",
        board.requests(),
        board.deaths(Death::OutOfMemory),
        board.deaths(Death::Panicked),
        board.deaths(Death::Killed)
    );
    println!(
        "webserver: {} lanes ended of {} spawned, {} descriptors closed of {} opened, {} late",
        metrics.ended,
        metrics.spawned,
        metrics.descriptors_closed,
        metrics.descriptors_opened,
        report.late.len()
    );
    report.late.iter().for_each(|lane| println!("webserver: late: {lane}"));
}
