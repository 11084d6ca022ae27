//! A web server of one thread that says what a test tells it to, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Each connection is for one question, so the client must not put another to it.
const CLOSE: &str = "Connection: close";

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
                let Some(path) = path(&mut stream) else { continue };
                // The test may be over.
                let _ = tell.send(path.clone());
                answer(&path, &mut stream);
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        Self { address, asked }
    }

    /// The same over TLS, with the certificate of the tests' own authority.
    pub(crate) fn start_tls(answer: impl Fn(&str, &mut dyn Write) + Send + 'static) -> Self {
        let config = tls();
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tell, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                let connection = ServerConnection::new(Arc::clone(&config)).expect("TLS");
                let mut stream = StreamOwned::new(connection, stream);
                // A client that does not trust us hangs up instead of asking.
                let Some(path) = path(&mut stream) else { continue };
                let _ = tell.send(path.clone());
                answer(&path, &mut stream);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        });
        Self { address, asked }
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
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
fn path(stream: &mut impl Read) -> Option<String> {
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
pub(crate) fn say(stream: &mut dyn Write, text: &str) {
    let _ = stream.write_all(text.as_bytes());
}

/// An answer with this body.
pub(crate) fn ok(stream: &mut dyn Write, body: &str) {
    let len = body.len();
    say(stream, &format!("HTTP/1.1 200 OK\r\n{CLOSE}\r\nContent-Length: {len}\r\n\r\n{body}"));
}

/// A redirect.
pub(crate) fn go(stream: &mut dyn Write, to: &str) {
    let head = format!("HTTP/1.1 302 Found\r\n{CLOSE}\r\nLocation: {to}\r\nContent-Length: 0");
    say(stream, &format!("{head}\r\n\r\n"));
}

/// A file of the tests' own authority.
pub(crate) fn tls_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn tls() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from_pem_file(tls_file("server.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    Arc::new(config)
}
