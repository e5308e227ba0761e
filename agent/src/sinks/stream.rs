//! A connection to a receiver over TCP or TLS, for protocols that are not HTTP.
//!
//! Opened when first needed and again after any error; every operation has a deadline. TLS believes the pinned
//! authority if one is given, else those of the system, and shows a client certificate if there is one.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{DeliveryError, SinkError};
use crate::config::TlsConfig;

/// Where authorities of the system are, in the order distributions use.
const SYSTEM_AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// How to reach a receiver.
pub(super) struct Target {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) timeout: Duration,
}

/// An open connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Target {
    pub(super) fn open(
        sink: &str,
        address: &str,
        tls: Option<&TlsConfig>,
        timeout: Duration,
    ) -> Result<Self, SinkError> {
        let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
        let (host, _port) = address
            .rsplit_once(':')
            .ok_or_else(|| setting(format!("address `{address}` has no port")))?;
        let tls = match tls {
            Some(tls) => {
                let name = tls.server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']);
                let name = ServerName::try_from(name.to_owned())
                    .map_err(|error| setting(format!("server name `{name}`: {error}")))?;
                Some((connector(sink, tls)?, name))
            }
            None => None,
        };
        Ok(Self { address: address.to_owned(), tls, timeout })
    }

    pub(super) async fn connect(&self) -> Result<Stream, DeliveryError> {
        let connect = async {
            let socket = TcpStream::connect(&self.address).await?;
            socket.set_nodelay(true)?;
            Ok::<_, io::Error>(match &self.tls {
                Some((connector, name)) => {
                    let stream = connector.connect(name.clone(), socket).await?;
                    Stream::Tls(Box::new(stream))
                }
                None => Stream::Plain(socket),
            })
        };
        within(self.timeout, connect)
            .await
            .map_err(|error| DeliveryError::retry(format!("{}: {error}", self.address)))
    }
}

/// Waits for something, but not for ever.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

impl Stream {
    /// Says goodbye; a peer that hears none logs an error.
    pub(super) async fn close(mut self, limit: Duration) {
        let _closed = within(limit, self.shutdown()).await;
    }
}

fn connector(sink: &str, config: &TlsConfig) -> Result<TlsConnector, SinkError> {
    let file = |path: &PathBuf, error: rustls::pki_types::pem::Error| SinkError::Setting {
        sink: sink.to_owned(),
        reason: format!("{}: {error}", path.display()),
    };
    let setting = |reason: String| SinkError::Setting { sink: sink.to_owned(), reason };
    let authorities = match &config.ca {
        Some(path) => path.clone(),
        None => {
            SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(
                || setting("no certificate authorities on this host; set tls.ca".to_owned()),
            )?
        }
    };
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(&authorities)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file(&authorities, error))?;
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(setting(format!("{}: no certificate in it", authorities.display())));
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let client = match (&config.certificate, &config.key) {
        (Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| file(certificate, error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, error))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| setting(format!("client certificate: {error}")))?
        }
        (_, _) => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(client)))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
