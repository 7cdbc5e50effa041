//! A certificate authority and a broker certificate for 127.0.0.1, made once by the JDK's `keytool`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::at;

/// The password of the key store; it guards nothing but a test.
pub(super) const PASSWORD: &str = "password";

/// The files of a broker's TLS listener and of its clients.
pub(super) struct Tls {
    dir: PathBuf,
}

impl Tls {
    #[cfg(test)]
    pub(super) fn at(dir: &Path) -> Tls {
        Tls { dir: dir.to_owned() }
    }

    /// Makes the files unless they are there.
    pub(super) fn new(target: &Path) -> Result<Tls, String> {
        let tls = Tls { dir: target.join("kafka-libs/tls") };
        if !tls.dir.exists() {
            let partial = target.join(format!("kafka-libs/tls.{}", std::process::id()));
            std::fs::create_dir_all(&partial).map_err(at(&partial))?;
            make(&partial)?;
            match std::fs::rename(&partial, &tls.dir) {
                // Another run was faster.
                Err(_) if tls.dir.exists() => std::fs::remove_dir_all(&partial).map_err(at(&partial))?,
                renamed => renamed.map_err(at(&partial))?,
            }
        }
        Ok(tls)
    }

    /// The broker's key and certificates, PKCS 12.
    pub(super) fn key_store(&self) -> PathBuf {
        self.dir.join("broker.p12")
    }

    /// What a client has to trust, PEM.
    pub(super) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }
}

fn make(dir: &Path) -> Result<(), String> {
    let key = ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-validity", "3650"];
    let ca = ["-alias", "ca"];
    let broker = ["-alias", "broker"];
    keytool(dir, &[&key, &ca, &["-dname", "CN=Test CA", "-ext", "bc:critical=ca:true"]])?;
    keytool(dir, &[&key, &broker, &["-dname", "CN=broker"]])?;
    keytool(dir, &[&["-certreq", "-file", "broker.csr"], &broker])?;
    let names = ["-ext", "san=ip:127.0.0.1,dns:localhost", "-ext", "eku=serverAuth"];
    let sign = ["-gencert", "-rfc", "-validity", "3650", "-infile", "broker.csr", "-outfile", "broker.pem"];
    keytool(dir, &[&sign, &ca, &names])?;
    keytool(dir, &[&["-exportcert", "-rfc", "-file", "ca.pem"], &ca])?;
    keytool(dir, &[&["-importcert", "-noprompt", "-file", "broker.pem"], &broker])?;
    // A broker would present the first key it finds.
    keytool(dir, &[&["-delete"], &ca])
}

fn keytool(dir: &Path, args: &[&[&str]]) -> Result<(), String> {
    let output = Command::new("keytool")
        .current_dir(dir)
        .args(args.concat())
        .args(["-storetype", "PKCS12", "-keystore", "broker.p12", "-storepass", PASSWORD])
        .output()
        .map_err(|e| format!("keytool: {e}; it comes with a JDK"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("keytool: {}", String::from_utf8_lossy(&output.stdout))),
    }
}
