//! Goal: a server that cannot prove to be the one that was asked for is not talked to, and the error says what to do. Method: a client
//! that trusts somebody else, certificates that have expired or are for another name, files that are none.

use anyhow::{Result, bail};
use windlass_tests::certs::{Authority, Signed, Site};
use windlass_tests::process::binary;
use windlass_worker::{Client, ConnectionEvent, Error, Worker};

async fn refusal(site: &Site, ca: Option<&Authority>) -> Result<String> {
    let mut builder = Client::builder(site.address());
    if let Some(ca) = ca {
        builder = builder.tls_ca(ca.ca());
    }
    match builder.connect().await {
        Err(error @ (Error::Untrusted { .. } | Error::Trust(_))) => Ok(error.to_string()),
        Err(other) => bail!("another error: {other:?}"),
        Ok(_) => bail!("the server was taken"),
    }
}

fn holds(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[tokio::test]
async fn a_stranger_is_not_trusted_and_the_error_says_how_to_name_the_authority() -> Result<()> {
    let site = Site::open(&Signed::default());
    let told = refusal(&site, Some(&Authority::new())).await?;
    holds(&told, &["not signed by an authority that is trusted here", "--tls-ca", &site.address()]);
    // Without a file, this system's authorities count; those of a test are none.
    holds(&refusal(&site, None).await?, &["--tls-ca"]);
    let output = std::process::Command::new(binary())
        .args(["queue", "list", "--server", &site.address()])
        .env_remove("WINDLASS_TLS_CA")
        .output()?;
    holds(&String::from_utf8_lossy(&output.stderr), &["--tls-ca"]);
    Ok(())
}

#[tokio::test]
async fn an_expired_certificate_is_refused() -> Result<()> {
    let site = Site::open(&Signed { expired: true, ..Signed::default() });
    holds(&refusal(&site, Some(&site.authority)).await?, &["has expired", "renew it on the server"]);
    Ok(())
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() -> Result<()> {
    let site = Site::open(&Signed { names: &["queue.example"], ..Signed::default() });
    holds(&refusal(&site, Some(&site.authority)).await?, &["for another name", "queue.example"]);
    Ok(())
}

/// A worker goes on trying, since certificates get renewed, and tells why it is not connected.
#[tokio::test]
async fn a_worker_tells_why_it_waits() -> Result<()> {
    let site = Site::open(&Signed::default());
    let other = Authority::new();
    let (tell, mut heard) = tokio::sync::mpsc::channel(16);
    let worker = Worker::builder(site.address())
        .tls_ca(other.ca())
        .handle("noop", async || ())
        .on_event(move |event| {
            if let ConnectionEvent::Unreachable { reason, .. } = event {
                let _ = tell.try_send(reason.clone());
            }
        })
        .build();
    let reason = tokio::select! {
        reason = heard.recv() => reason.expect("the worker lives"),
        ended = worker.run() => bail!("the worker ended: {ended:?}"),
    };
    holds(&reason, &["cannot be trusted", "--tls-ca"]);
    Ok(())
}
