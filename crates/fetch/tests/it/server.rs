//! A web server of one thread that says what a test tells it to, byte by byte.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Answers each connection in turn by a function of the path, until the test ends.
pub(crate) struct Server {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let Some(path) = path(&stream) else { continue };
                // The test may be over.
                let _ = tell.send(path.clone());
                answer(&path, &mut stream);
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Self { address, asked }
    }

    /// A base under it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/repo/", self.address)
    }

    /// What was asked for so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

/// Reads the head of a request; its path.
fn path(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    for line in lines {
        if line.ok()?.is_empty() {
            break;
        }
    }
    Some(first.split(' ').nth(1)?.to_owned())
}

/// Says all of it; a client that hung up is none of the server's concern.
pub(crate) fn say(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes());
}

/// An answer with this body.
pub(crate) fn ok(stream: &mut TcpStream, body: &str) {
    say(stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
}
