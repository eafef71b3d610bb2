//! Resources that closed clients must not leave behind.

use crate::common::process_info::{descriptors, resident};
use crate::common::serial::{in_child_process, is_child_process, serial};
use crate::common::{client, run, run_all};
use rediscluster::ffi::client::{rdc_close, rdc_create};
use rediscluster::ffi::command::rdc_get;
use rediscluster::ffi::reply::rdc_reply_free;
use std::ffi::CString;
use std::sync::Arc;
use support::Server;

#[test]
fn ten_thousand_clients_leak_no_resources() {
    let _serial = serial();
    let server = (!is_child_process()).then(|| Server::start().unwrap());
    let url = server.as_ref().map(Server::url).unwrap_or_default();
    in_child_process(&url, |url| {
        let c_url = CString::new(url).unwrap();
        let round = |times: usize| {
            for n in 0..times {
                if n % 2 == 1 {
                    // SAFETY: the C string is live; handles and replies are used until they are freed, once.
                    unsafe {
                        let handle = rdc_create(c_url.as_ptr());
                        let reply = rdc_get(handle, c"k".as_ptr(), 1);
                        assert_eq!(rdc_reply_free(reply), 0);
                        rdc_close(handle);
                    }
                    continue;
                }
                let client = Arc::new(client(url));
                if n % 10 == 0 {
                    assert_eq!(run_all(&client, &["SET k v", "GET k"]), ["OK", "v"]);
                    assert_eq!(run(&client.readonly(), "GET k"), "v");
                    assert_eq!(run(&client.pin(b"k"), "GET k"), "v");
                }
            }
        };
        round(1000);
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let (files, memory, tasks) = (descriptors(), resident(), threads());
        round(9000);
        assert_eq!(descriptors(), files);
        assert_eq!(threads(), tasks);
        let grown = resident().saturating_sub(memory);
        assert!(grown < 1 << 20, "{grown} bytes for 9000 clients");
    });
}
