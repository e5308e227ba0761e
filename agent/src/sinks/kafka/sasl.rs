//! Shows a Kafka broker who we are: SASL PLAIN, or SCRAM (RFC 5802), which never sends the password and also has the
//! broker prove that it knows it.

use std::{
    io::{self, ErrorKind},
    num::NonZeroU32,
};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::{Broker, protocol};

/// Rounds of hashing that a broker may ask for: fewer are no protection, more would hold us up.
const ROUNDS: std::ops::RangeInclusive<u32> = 4_096..=200_000;

/// How the password is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Plain | Self::ScramSha256 => hmac::HMAC_SHA256,
            Self::ScramSha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Plain | Self::ScramSha256 => &digest::SHA256,
            Self::ScramSha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Plain | Self::ScramSha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::ScramSha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// Shows who we are on a new connection.
pub(super) async fn show(
    broker: &mut Broker,
    mechanism: Mechanism,
    user: &str,
    password: &str,
) -> io::Result<()> {
    let answer = broker.call(&protocol::sasl_handshake(mechanism.name())).await?;
    protocol::shook_hands(&answer).map_err(io::Error::other)?;
    if mechanism == Mechanism::Plain {
        step(broker, format!("\0{user}\0{password}").as_bytes()).await?;
        return Ok(());
    }
    let mut random = [0; 18];
    aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
    let scram = Scram::new(mechanism, user, &BASE64.encode(random));
    let first = step(broker, scram.first().as_bytes()).await?;
    let proof = scram.prove(&text(&first)?, password)?;
    let last = step(broker, proof.message.as_bytes()).await?;
    if text(&last)?.split(',').next() == Some(proof.expected.as_str()) {
        return Ok(());
    }
    Err(invalid("the broker does not know the password"))
}

/// See [`crate::sinks::read_as_answers`].
pub(super) fn read_as_answer(bytes: &[u8]) {
    if let Ok(said) = text(bytes) {
        let _proof = Scram::new(Mechanism::ScramSha256, "user", "nonce").prove(&said, "password");
    }
}

async fn step(broker: &mut Broker, token: &[u8]) -> io::Result<Vec<u8>> {
    let answer = broker.call(&protocol::sasl_authenticate(token)).await?;
    protocol::authenticated(&answer).map_err(io::Error::other)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason.to_owned())
}

fn text(bytes: &[u8]) -> io::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_not_utf8| invalid("not SCRAM"))
}

/// One SCRAM exchange.
struct Scram {
    mechanism: Mechanism,
    nonce: String,
    bare: String,
}

/// What is sent last, and what the broker must answer.
struct Proof {
    message: String,
    expected: String,
}

impl Scram {
    fn new(mechanism: Mechanism, user: &str, nonce: &str) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { mechanism, nonce: nonce.to_owned(), bare: format!("n={user},r={nonce}") }
    }

    fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    fn prove(&self, said: &str, password: &str) -> io::Result<Proof> {
        let part = |name: &str| said.split(',').find_map(|part| part.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(rounds)) = (part("r="), part("s="), part("i=")) else {
            return Err(invalid("not SCRAM"));
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(invalid("SCRAM with another nonce"));
        }
        let salt = BASE64.decode(salt).map_err(|_not_base64| invalid("SCRAM without a salt"))?;
        let rounds = rounds.parse().ok().filter(|rounds| ROUNDS.contains(rounds));
        let rounds = rounds
            .and_then(NonZeroU32::new)
            .ok_or_else(|| invalid("SCRAM with too few or too many rounds"))?;
        let mut salted = vec![0; self.mechanism.digest().output_len()];
        pbkdf2::derive(self.mechanism.pbkdf2(), rounds, &salt, password.as_bytes(), &mut salted);

        let sign = |key: &[u8], message: &str| {
            hmac::sign(&hmac::Key::new(self.mechanism.hmac(), key), message.as_bytes())
        };
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(self.mechanism.digest(), client_key.as_ref());
        let unproven = format!("c=biws,r={nonce}");
        let all = format!("{},{said},{unproven}", self.bare);
        let signature = sign(stored_key.as_ref(), &all);
        let proof: Vec<u8> = client_key
            .as_ref()
            .iter()
            .zip(signature.as_ref())
            .map(|(key, bit)| key ^ bit)
            .collect();
        let server_key = sign(&salted, "Server Key");
        Ok(Proof {
            message: format!("{unproven},p={}", BASE64.encode(proof)),
            expected: format!("v={}", BASE64.encode(sign(server_key.as_ref(), &all))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange that RFC 7677 prints.
    #[test]
    fn the_exchange_of_the_rfc_comes_out() {
        let scram = Scram::new(Mechanism::ScramSha256, "user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let said = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = scram.prove(said, "pencil").unwrap();
        assert_eq!(
            proof.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proof.expected, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_broker_that_plays_foul_is_refused() {
        let scram = Scram::new(Mechanism::ScramSha512, "a=b,c", "mine");
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc,r=mine");
        for said in [
            "",
            "r=mine,s=c2FsdA==,i=4096",
            "r=theirs,s=c2FsdA==,i=4096",
            "r=minetheirs,s=c2FsdA==,i=1",
            "r=minetheirs,s=c2FsdA==,i=4000000000",
            "r=minetheirs,s=?,i=4096",
        ] {
            assert!(scram.prove(said, "p").is_err(), "{said}");
        }
        assert!(scram.prove("r=minetheirs,s=c2FsdA==,i=4096", "p").is_ok());
    }
}
