//! Finds the files of the release build, for tests of their cost and size.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the release build. One that is older than its sources is an error.
pub fn release(name: &str) -> Result<PathBuf, String> {
    let test = std::env::current_exe().expect("the path of this test");
    let target = test.ancestors().nth(3).expect("target/debug/deps/test");
    let file = target.join("release").join(name);
    let built = fs::metadata(&file).and_then(|meta| meta.modified());
    match built {
        Err(_) => Err(format!("{} is missing: run `make build`", file.display())),
        Ok(built) if built < newest(&Path::new(ROOT).join("src")) => Err(format!(
            "{} is older than src/: run `make build`",
            file.display()
        )),
        Ok(_) => Ok(file),
    }
}

/// The time of the latest change to a file below `path`.
fn newest(path: &Path) -> SystemTime {
    let meta = fs::metadata(path).expect("a source");
    if meta.is_file() {
        return meta.modified().expect("its time");
    }
    let entries = fs::read_dir(path).expect("a folder of sources");
    let times = entries.map(|entry| newest(&entry.expect("an entry").path()));
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
