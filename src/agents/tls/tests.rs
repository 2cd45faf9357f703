use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
};

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    ssl::{SslAcceptor, SslMethod},
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use serde_json::{Value, json};

use super::super::{testing::*, *};

type Pair = (X509, PKey<Private>);

/// A certificate: of an authority, or signed by one for 127.0.0.1.
fn certificate(name: &str, authority: Option<&Pair>) -> Pair {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&BigNum::from_u32(rand::random::<u32>() >> 1).unwrap().to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_issuer_name(authority.map_or(&*subject, |(issuer, _)| issuer.subject_name())).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    if authority.is_none() {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    } else {
        let context = builder.x509v3_context(None, None);
        let local = SubjectAlternativeName::new().ip("127.0.0.1").build(&context).unwrap();
        builder.append_extension(local).unwrap();
    }
    builder.sign(authority.map_or(&key, |(_, key)| key), MessageDigest::sha256()).unwrap();
    (builder.build(), key)
}

/// A LangGraph server and an HTTP endpoint behind TLS.
fn serve(authority: &Pair) -> SocketAddr {
    let (certificate, key) = certificate("server", Some(authority));
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    let acceptor = acceptor.build();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let Ok(mut stream) = acceptor.accept(stream) else { continue };
            let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
            let heard = loop {
                match stream.read(&mut chunk) {
                    Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
                    _ => break None,
                }
                if let Some(heard) = whole_request(&bytes) {
                    break Some(heard);
                }
            };
            let Some(heard) = heard else { continue };
            let body: Value = serde_json::from_slice(&heard.body).unwrap_or_default();
            let answer = match &*heard.line {
                "POST /threads" => json!({"thread_id": body["thread_id"], "metadata": body["metadata"]}),
                _ => json!({"run_id": "ours"}),
            };
            let body = answer.to_string();
            let length = body.len();
            let text = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes());
            let _ = stream.shutdown();
        }
    });
    addr
}

fn pem(folder: &tempfile::TempDir, name: &str, certificates: &[&Pair]) -> PathBuf {
    let path = folder.path().join(name);
    let pem: Vec<u8> = certificates.iter().flat_map(|(certificate, _)| certificate.to_pem().unwrap()).collect();
    std::fs::write(&path, pem).unwrap();
    path
}

/// What both kinds of agent make of a server, by way of its address and their CA file.
async fn attempts(host: &str, addr: SocketAddr, ca: Option<&PathBuf>) -> Vec<Answer> {
    let tls = ca.map(|path| Tls::load(path).unwrap());
    let url = format!("https://{host}:{}/", addr.port());
    let (mut web, mut http) = http_spec(addr);
    http.url = url.parse().unwrap();
    http.tls.clone_from(&tls);
    web.endpoint = Endpoint::Http(http);
    let (mut graph, mut langgraph) = langgraph_spec(addr);
    langgraph.url = url.parse().unwrap();
    langgraph.tls = tls;
    graph.endpoint = Endpoint::LangGraph(langgraph);
    let mut answers = Vec::new();
    for mut spec in [web, graph] {
        spec.timeout = std::time::Duration::from_secs(60);
        let agent = Agent::connect(&Arc::new(spec)).unwrap();
        answers.push(agent.attempt(&mut agent.session(), &delivery("e1")).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_ca_vouches_for_its_servers_and_for_no_others() {
    let (ours, other) = (certificate("our CA", None), certificate("another CA", None));
    let folder = tempfile::tempdir().unwrap();
    let right = pem(&folder, "ours.pem", &[&ours]);
    let both = pem(&folder, "both.pem", &[&other, &ours]);
    let wrong = pem(&folder, "other.pem", &[&other]);
    let addr = serve(&ours);
    for ca in [&right, &both] {
        for answer in attempts("127.0.0.1", addr, Some(ca)).await {
            assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        }
    }
    for (host, ca) in [("127.0.0.1", None), ("127.0.0.1", Some(&wrong)), ("localhost", Some(&right))] {
        for answer in attempts(host, addr, ca).await {
            let failure = failed(answer);
            assert_eq!(
                (failure.class, failure.kind.as_str()),
                (Class::AgentFault, "connect"),
                "{host} {ca:?}: {}",
                failure.reason
            );
            assert!(failure.reason.contains("certificate verify failed"), "{}", failure.reason);
        }
    }
}

#[test]
fn a_ca_file_holds_certificates_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let ours = certificate("our CA", None);
    let two = pem(&folder, "two.pem", &[&ours, &certificate("next CA", None)]);
    assert_eq!(Tls::load(&two).unwrap().certificates().len(), 2);
    assert!(matches!(Tls::load(folder.path()), Err(TlsError::Unreadable { .. })));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let key = String::from_utf8(ours.1.private_key_to_pem_pkcs8().unwrap()).unwrap();
    for text in ["", "not PEM", broken, &key] {
        let path = folder.path().join("broken.pem");
        std::fs::write(&path, text).unwrap();
        let error = Tls::load(&path).unwrap_err();
        assert!(matches!(error, TlsError::NoCertificate { .. }), "{text:?}: {error}");
        assert!(!error.to_string().contains("PRIVATE"), "{error}");
    }
}
