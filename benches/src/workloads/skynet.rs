//! `skynet`: a tree of lanes, ten children each, that sums up its leaves.

use std::time::Instant;

use actors::{Address, Lane, spawn};

use crate::check::{expect_eq, sum_below};
use crate::run::{Keys, Measured, Usage, Work, on_lane};

const CHILDREN: u64 = 10;

/// What a lane tells its parent of itself and those below it.
struct Report {
    sum: u64,
    lanes: u64,
}

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let leaves = keys.count("leaves", 1_000_000)?;
    if CHILDREN.pow(leaves.ilog(CHILDREN)) != leaves {
        return Err(Usage::new("leaves must be a power of ten"));
    }
    Ok(on_lane(move |lane| measure(lane, leaves)))
}

async fn measure(mut main: Lane<Report>, leaves: u64) -> Measured {
    let start = Instant::now();
    plant(main.address(), 0, leaves);
    let Report { sum, lanes } = main.recv().await.expect("the root's report");
    let measured = Measured::since(start, lanes);
    expect_eq("the sum", sum, sum_below(leaves));
    expect_eq("the number of lanes", lanes, (leaves * CHILDREN - 1) / (CHILDREN - 1));
    measured
}

/// Spawns the lane over the leaves from `first` on, `leaves` of them.
fn plant(parent: Address<Report>, first: u64, leaves: u64) {
    let node = async move |mut lane: Lane<Report>| {
        let mut report = Report { sum: first, lanes: 1 };
        if leaves > 1 {
            report.sum = 0;
            let each = leaves / CHILDREN;
            for child in 0..CHILDREN {
                plant(lane.address(), first + child * each, each);
            }
            for _ in 0..CHILDREN {
                let below = lane.recv().await.expect("a child's report");
                report.sum += below.sum;
                report.lanes += below.lanes;
            }
        }
        parent.send(report).await.expect("the parent");
    };
    spawn(node).expect("a node of the tree");
}
