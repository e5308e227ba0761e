//! A small HTTPS server that takes alerts: real TLS, an authority of its own, HTTP/1.1 with lengths given.
//!
//! In: POST requests whose body is lines of JSON. Out: the same lines in a file, synced before the answer, so that what
//! was acknowledged is there. Requests without a webhook signature header are refused, since the agent always signs.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// More than the agent puts into one request.
const LARGEST_BODY: usize = 16 << 20;

/// An authority for this run only: its certificate in PEM, and a server that it vouches for.
pub fn authority() -> Result<(String, Arc<ServerConfig>)> {
    let mut params = CertificateParams::new(Vec::new())?;
    // Another name than its server's: a certificate whose issuer has its own name counts as self-signed.
    params.distinguished_name.push(DnType::CommonName, "receiver authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    let config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_no_client_auth()
    .with_single_cert(
        vec![certificate.der().clone()],
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
    )?;
    Ok((authority.pem(), Arc::new(config)))
}

/// Serves for ever.
pub fn serve(port: &str, folder: &Path) -> Result<()> {
    let (certificate, config) = authority()?;
    fs::create_dir_all(folder)?;
    let received = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("received.ndjson"))
        .context("received.ndjson")?;
    let received = Arc::new(Mutex::new(received));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse()?))?;
    // Whoever waits for this file may connect as soon as it is there.
    fs::write(folder.join("ca.new"), certificate)?;
    fs::rename(folder.join("ca.new"), folder.join("ca.pem"))?;
    for connection in listener.incoming() {
        let (connection, config, received) = (connection?, config.clone(), received.clone());
        std::thread::spawn(move || {
            if let Err(error) = converse(connection, config, &received) {
                eprintln!("receiver: {error:#}");
            }
        });
    }
    Ok(())
}

fn converse(tcp: TcpStream, config: Arc<ServerConfig>, received: &Mutex<File>) -> Result<()> {
    let tls = StreamOwned::new(ServerConnection::new(config)?, tcp);
    let mut stream = BufReader::new(tls);
    while let Some(request) = Request::read(&mut stream)? {
        let answer = if request.method != "POST" {
            "405 Method Not Allowed"
        } else if request.signature.is_none() {
            "401 Unauthorized"
        } else {
            let mut file = received.lock().map_err(|_| anyhow::anyhow!("a writer panicked"))?;
            file.write_all(&request.body)?;
            if !request.body.ends_with(b"\n") {
                file.write_all(b"\n")?;
            }
            file.sync_data()?;
            "204 No Content"
        };
        write!(stream.get_mut(), "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n")?;
        stream.get_mut().flush()?;
    }
    Ok(())
}

struct Request {
    method: String,
    signature: Option<String>,
    body: Vec<u8>,
}

impl Request {
    /// The next request; none if the client is done.
    fn read(
        stream: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
    ) -> Result<Option<Self>> {
        let mut line = String::new();
        // A client that ends without saying goodbye has nothing more to say either.
        if !matches!(stream.read_line(&mut line), Ok(1..)) {
            return Ok(None);
        }
        let method = line.split(' ').next().unwrap_or_default().to_owned();
        let (mut length, mut signature) = (0, None);
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                bail!("a request without an end");
            }
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            let Some((name, value)) = header.split_once(':') else {
                bail!("a header without a colon");
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "webhook-signature" => signature = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        if length > LARGEST_BODY {
            bail!("a body of {length} bytes");
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Some(Self { method, signature, body }))
    }
}
