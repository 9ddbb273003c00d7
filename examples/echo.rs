//! A TCP echo server with a lane for each connection, and a client that tries it. A lane that takes a socket over adopts
//! it: from then on the socket closes with that lane, however it ends.

use laneway::prelude::*;

async fn accept(mut listener: TcpListener) -> Outcome {
    listener.adopt()?;
    loop {
        let (stream, _) = listener.accept().await?;
        laneway::spawn(async move |_: Lane<()>| echo(stream).await)?;
    }
}

async fn echo(mut stream: TcpStream) -> Outcome {
    stream.adopt()?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0))?;
        let address = listener.local_addr()?;
        let server = laneway::spawn(async move |_: Lane<()>| accept(listener).await)?;

        let mut client = TcpStream::connect(address).await?;
        let mut echoed = [0; 5];
        client.write_all(b"hello").await?;
        client.read_exact(&mut echoed).await?;
        println!("sent hello, got {}", String::from_utf8_lossy(&echoed));

        server.kill();
        laneway::join(server.id()).await;
        match TcpStream::connect(address).await {
            Err(error) => println!("the listener went with its lane: {}", error.kind()),
            Ok(_) => return Err("the listener outlived its lane".into()),
        }
        Ok(())
    })
}
