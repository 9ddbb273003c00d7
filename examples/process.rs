//! A worker that does its work in a process of its own, under a supervisor. Killed, the lane takes the process with it, and
//! the next incarnation starts another; whoever uses it by its role goes on.

use laneway::prelude::*;
use laneway::process::{self, Child, Command, Stdio};

/// Asks for twice a number.
struct Double(u64, Reply<u64>);

/// A shell that reads numbers and writes what they are doubled.
#[derive(Default)]
struct Doubler(Option<Child>);

impl Actor for Doubler {
    type Msg = Double;

    async fn init(&mut self, _: &mut Context<Double>) -> Result<Init, ExitReason> {
        let shell = Command::new("sh").args(["-c", "while read n; do echo $((2 * n)); done"]);
        let child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().await?;
        println!("process {} starts", child.pid()?);
        self.0 = Some(child);
        Ok(Init::Ready)
    }

    async fn handle(&mut self, Double(number, reply): Double, _: &mut Context<Double>) -> Outcome {
        let Some(Child { stdin: Some(stdin), stdout: Some(stdout), .. }) = &mut self.0 else { return Ok(()) };
        stdin.write_all(format!("{number}\n").as_bytes()).await?;
        let (mut line, mut byte) = (String::new(), [0]);
        while stdout.read(&mut byte).await? == 1 && byte[0] != b'\n' {
            line.push(char::from(byte[0]));
        }
        // Whoever asked may have left.
        let _ = reply.send(line.parse()?);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().workers(2).build()?;
    runtime.block_on(async {
        let doubler = Role::new();
        let supervisor = Supervisor::builder("processes")
            .child(ChildSpec::actor("doubler", Doubler::default).role(doubler))
            .start()
            .await?;
        let first = doubler.filled().await?;
        println!("twice 21 is {}", doubler.ask(|reply| Double(21, reply)).await?);

        first.kill();
        laneway::join(first.id()).await;
        println!("and twice 4, by the next one, {}", doubler.ask(|reply| Double(4, reply)).await?);

        supervisor.shutdown().await;
        while process::processes_left()? != 0 {
            laneway::yield_now().await;
        }
        println!("no process is left");
        Ok(())
    })
}
