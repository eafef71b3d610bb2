//! Valid and invalid certificates, made at the start of a test program.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use std::path::{Path, PathBuf};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// PEM files by name.
pub struct Pki {
    dir: PathBuf,
    ours: Authority,
    theirs: Authority,
}

/// A certificate and its key.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The purpose of a certificate.
pub fn names(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "node");
    params
}

impl Pki {
    pub fn new() -> Pki {
        let name = format!("pki-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let pki = Pki {
            dir,
            ours: authority("ours"),
            theirs: authority("theirs"),
        };
        pki.file("ca.pem", &pki.ours.pem());
        pki.file("other-ca.pem", &pki.theirs.pem());
        pki
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority that clients are told to trust.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// An authority that clients do not trust.
    pub fn other_ca(&self) -> PathBuf {
        self.dir.join("other-ca.pem")
    }

    fn write(&self, name: &str, cert: &str, key: &KeyPair) -> Pair {
        Pair {
            cert: self.file(&format!("{name}.pem"), cert),
            key: self.file(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    /// A certificate signed by our authority.
    pub fn pair(&self, name: &str, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ours).unwrap();
        self.write(name, &cert.pem(), &key)
    }

    /// A valid certificate for nodes at 127.0.0.1.
    pub fn good(&self, name: &str) -> Pair {
        self.pair(name, names(&["127.0.0.1", "localhost"]))
    }

    /// A certificate signed by the other authority.
    pub fn foreign(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = names(&["127.0.0.1"]).signed_by(&key, &self.theirs).unwrap();
        self.write(name, &cert.pem(), &key)
    }

    pub fn self_signed(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = names(&["127.0.0.1"]).self_signed(&key).unwrap();
        self.write(name, &cert.pem(), &key)
    }

    pub fn self_signed_authority(&self, name: &str) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = names(&["127.0.0.1"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap();
        self.write(name, &cert.pem(), &key)
    }

    pub fn expired(&self, name: &str) -> Pair {
        let mut params = names(&["127.0.0.1"]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.pair(name, params)
    }

    pub fn not_yet_valid(&self, name: &str) -> Pair {
        let mut params = names(&["127.0.0.1"]);
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
        self.pair(name, params)
    }

    /// The node is named only in the common name, as was usual before subjectAltName.
    pub fn common_name_alone(&self, name: &str) -> Pair {
        let mut params = names(&[]);
        params
            .distinguished_name
            .push(DnType::CommonName, "127.0.0.1");
        self.pair(name, params)
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        // `make clean` removes leftovers.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
