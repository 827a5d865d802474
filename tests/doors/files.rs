//! Goal: a server whose certificate cannot be used does not start, and names the file and what is wrong with it. Method: wrong files.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use windlass_tests::certs::{Authority, Signed, flags};
use windlass_tests::process::binary;

/// What `windlass check` and `windlass server` say; both must refuse.
fn refusal(args: &[String]) -> Result<String> {
    let data = tempfile::tempdir()?;
    let mut told = String::new();
    for verb in ["check", "server"] {
        let doors = ["--http", "off", "--native", "127.0.0.1:0", "--faktory", "off", "--gossip", "off"];
        let output = Command::new(binary())
            .arg(verb)
            .args(doors)
            .arg("--data-dir")
            .arg(data.path())
            .args(args)
            .output()?;
        told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{verb}: {} {told}", output.status);
    }
    Ok(told)
}

fn names(told: &str, path: &Path, why: &str) {
    assert!(told.contains(&path.display().to_string()) && told.contains(why), "{why:?} is not in: {told}");
}

#[test]
fn what_is_wrong_is_named() -> Result<()> {
    let (ours, other) = (Authority::new(), Authority::new());
    ours.sign(&Signed::default());
    other.sign(&Signed::default());
    let missing = ours.cert().with_file_name("nothing.pem");
    names(&refusal(&flags(&missing, &ours.key()))?, &missing, "cannot be read");
    names(&refusal(&flags(&ours.key(), &ours.key()))?, &ours.key(), "holds no certificate");
    names(&refusal(&flags(&ours.cert(), &ours.cert()))?, &ours.cert(), "holds no private key");
    names(&refusal(&flags(&ours.cert(), &other.key()))?, &other.key(), "is not the key of the certificate");
    let half = std::fs::read_to_string(ours.cert())?;
    std::fs::write(&missing, &half[..half.len() / 2])?;
    names(&refusal(&flags(&missing, &ours.key()))?, &missing, "PEM");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(&missing, encrypted)?;
    names(&refusal(&flags(&ours.cert(), &missing))?, &missing, "the key is encrypted");
    let alone = &flags(&ours.cert(), &ours.key())[..2];
    let told = refusal(alone)?;
    ensure!(told.contains("tls_cert") && told.contains("tls_key"), "{told}");
    Ok(())
}

#[test]
fn dev_is_for_this_machine_and_says_so() -> Result<()> {
    let ours = Authority::new();
    ours.sign(&Signed::default());
    let output = Command::new(binary()).args(["dev", "--ephemeral"]).args(ours.flags()).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && told.contains("windlass server"), "{told}");
    Ok(())
}
