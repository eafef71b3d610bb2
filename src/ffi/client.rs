//! ## Connecting

use super::args::{bytes_arg, optional_text_arg, text_arg};
use super::environment_log;
use super::panic_boundary::{
    catch_panic, catch_panic_without_pthread_cancel, panic_error, return_reply,
};
use super::registry::{acquire, close, interrupt, register};
use super::reply::rdc_reply;
use crate::cluster::Client;
use crate::config::{Config, options};
use crate::error::{Code, Error, Result};
use crate::resp::{Builder, Kind};
use std::ffi::c_char;

/// Options for rdc_create_with(), set by name. Used by one thread at a time.
#[allow(non_camel_case_types)]
pub struct rdc_options {
    config: Config,
    /// The error of the first invalid option.
    error: Option<Error>,
}

/// A handle on a cluster, with its own per-handle options. Any number of threads may use it
/// at once. All handles on one cluster (from rdc_with(), rdc_readonly() and rdc_pin()) share
/// its topology and its connections.
#[allow(non_camel_case_types)]
pub struct rdc_client(());

/// The handle for a call that panicked.
fn failed_client(message: &str) -> *mut rdc_client {
    register(Client::failed(panic_error(message)))
}

/// ## Connecting
///
/// Connects to the cluster that a URL names, and returns a client:
/// "redis://user:pass@h1:7000,h2:7001?read_from=replica&timeout_ms=500". The hosts are seeds:
/// one reachable host is enough. The scheme rediss means TLS; valkey and valkeys mean the
/// same as redis and rediss. The options after the "?" are listed in CONFIGURATION.md.
///
/// "redis://h1:7000/3" selects database 3 on every connection. "unix:///path?database=3" is the
/// unix socket of one server that is no cluster (docs/databases.md).
///
/// The files that the options name are read in this call, and again when they change. With
/// TLS, each node must prove with its certificate that it is the host that the client connects to.
///
/// Waits at most timeout_ms (default 5000 ms), also for a cluster that is not ready yet: a
/// refused connection, an unknown name, a node that loads its data, no slots. Does not wait
/// where waiting does not help, such as for a wrong password. With lazy=yes, sends nothing and
/// waits for nothing.
///
/// Never returns NULL. If the client did not connect, rdc_client_error() returns the reason,
/// and each later call tries again within its own timeout. An invalid URL, option or file is
/// final: every call returns that error. Close the client with rdc_close() in all cases.
///
/// # Safety
/// Header rule 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_create(url: *const c_char) -> *mut rdc_client {
    catch_panic_without_pthread_cancel(failed_client, || {
        environment_log::install();
        // SAFETY: header rule 3.
        register(match unsafe { text_arg(url, "url") } {
            Ok(url) => Client::create(url),
            Err(error) => Client::failed(error),
        })
    })
}

/// As rdc_create(), with options instead of a URL. The options are copied: the caller may
/// change or free them afterwards.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_create_with(options: *const rdc_options) -> *mut rdc_client {
    catch_panic_without_pthread_cancel(failed_client, || {
        environment_log::install();
        // SAFETY: header rule 1: NULL, or made by rdc_options_new and not freed.
        register(match unsafe { options.as_ref() } {
            None => Client::failed(Error::invalid("options is NULL")),
            Some(rdc_options {
                error: Some(error), ..
            }) => Client::failed(error.clone()),
            Some(options) => Client::create_with(options.config.clone()),
        })
    })
}

/// Returns why the client did not connect when it was created, as one line that begins with
/// the name of the error code; NULL if it connected then, is lazy, or is a derived handle
/// without an error of its own. The result never changes, also when the client connects later:
/// the entry "connected" of rdc_stats() says whether it is connected now. The text lives as
/// long as the client. For a closed client, a static text says that it was closed. Does no I/O.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_client_error(client: *const rdc_client) -> *const c_char {
    catch_panic(
        |_| c"INTERNAL a bug in librediscluster".as_ptr(),
        || match acquire(client) {
            Ok(handle) => handle
                .error
                .as_ref()
                .map_or(std::ptr::null(), |error| error.as_ptr()),
            Err(error) if error.code == Code::Closed => {
                c"CLOSED the client handle was closed".as_ptr()
            }
            Err(_) => c"INVALID client is NULL".as_ptr(),
        },
    )
}

/// Makes a derived handle.
fn derive(client: *const rdc_client, f: impl FnOnce(&Client) -> Result<Client>) -> *mut rdc_client {
    catch_panic_without_pthread_cancel(failed_client, || {
        let derived = acquire(client).and_then(|handle| f(&handle.client));
        register(derived.unwrap_or_else(Client::failed))
    })
}

/// Returns a derived handle: another handle on the same cluster, with one option changed. The
/// option must be one that CONFIGURATION.md marks as per handle, such as timeout_ms,
/// read_from, readonly, retry_writes or database; with another database, the new handle has
/// connections of its own. Does no I/O. Never returns NULL: if the option or its
/// value is invalid, rdc_client_error() of the new handle returns the reason. Close it with
/// rdc_close(), before or after the handle it was derived from.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_with(
    client: *const rdc_client,
    option: *const c_char,
    value: *const c_char,
) -> *mut rdc_client {
    derive(client, |client| {
        // SAFETY: header rule 3.
        let (option, value) = unsafe { (text_arg(option, "option")?, text_arg(value, "value")?) };
        Ok(client.with(option, value))
    })
}

/// Returns a derived handle that distributes reads over a slot's primary and replicas. It
/// rejects every command that is not known to be a read with RDC_ERR_READONLY, before any
/// byte is sent. Replication is asynchronous, so reads may return stale data. The same as
/// rdc_with(client, "readonly", "yes"). Does no I/O. Close it with rdc_close().
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_readonly(client: *const rdc_client) -> *mut rdc_client {
    derive(client, |client| Ok(client.readonly()))
}

/// Returns a derived handle with a connection of its own, to the primary that serves key. For
/// commands that belong to one connection: WATCH, MULTI, EXEC, SELECT, AUTH, CLIENT REPLY and
/// CLIENT TRACKING. Does no I/O: the first command opens the connection. Nothing is redirected
/// or retried. What was said on the connection is never lost in silence: when it breaks or the
/// slot moves, commands fail with RDC_ERR_IO and rdc_reply_sent() 0 until RESET, or the like
/// was said again. A lost transaction also ends with EXEC, DISCARD or UNWATCH. RESET gives the
/// state of a new connection, in the database of the handle. Close the handle with rdc_close().
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pin(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_client {
    derive(client, |client| {
        // SAFETY: header rule 3.
        Ok(client.pin(unsafe { bytes_arg(key, key_len, "key") }?))
    })
}

/// Replaces the credentials on all handles of the cluster: derived, read-only and pinned ones,
/// in all threads. user is NULL or "" for the default user; password is NULL or "" to send
/// none. Does no I/O. Connections that are opened from now on use the new credentials. A
/// connection that is open sends AUTH by itself when it is next idle, before its next command.
/// What is running goes on. A server that refuses the new credentials keeps the open
/// connections with the user that they have; the log and rdc_stats() say so. A pinned handle
/// keeps its user if the caller has sent AUTH on it, and until its transaction ends.
/// Connections that are open keep their user if password is NULL. Files of the options
/// user_file and password_file are not read any more. A child that is forked later has the new
/// credentials. Any thread may call it. Returns RDC_OK, or RDC_ERR_INVALID: the handle is NULL
/// or closed or could not be created, a text is not UTF-8 or longer than 64 KiB, the user
/// contains a control character, or there is a user and no password. Then nothing changes.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_set_credentials(
    client: *const rdc_client,
    user: *const c_char,
    password: *const c_char,
) -> i32 {
    catch_panic_without_pthread_cancel(
        |_| Code::Internal as i32,
        || {
            let changed = acquire(client).and_then(|handle| {
                // SAFETY: header rule 3.
                let user = unsafe { optional_text_arg(user, "user") }?;
                // SAFETY: header rule 3.
                let password = unsafe { optional_text_arg(password, "password") }?;
                handle.client.set_credentials(user, password)
            });
            match changed {
                Ok(()) => Code::Ok as i32,
                Err(_) => Code::Invalid as i32,
            }
        },
    )
}

/// Ends the calls that other threads are making on this handle, within 10 ms: they return
/// RDC_ERR_INTERRUPTED. Later calls and other handles are not affected. Any thread may call
/// it, also in a signal handler: it is async-signal-safe. For NULL and for a handle that was
/// closed, or is being closed by another thread, it does nothing.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_interrupt(client: *const rdc_client) {
    interrupt(client);
}

/// Closes a handle and frees it. Calls that other threads are making on it, and all later
/// calls on it, return RDC_ERR_CLOSED. The connections are closed together with the last
/// handle on the cluster. Closing NULL, or a handle twice, does nothing.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_close(client: *mut rdc_client) {
    catch_panic_without_pthread_cancel(|_| (), || close(client));
}

/// Returns new options, all with their default values. Free them with rdc_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn rdc_options_new() -> *mut rdc_options {
    Box::into_raw(Box::new(rdc_options {
        config: Config::new(),
        error: None,
    }))
}

/// Sets an option by name; the URL is the option "url". Returns RDC_OK or RDC_ERR_INVALID.
/// Checking is optional: a client created with these options reports the first error in
/// rdc_client_error().
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_options_set(
    options: *mut rdc_options,
    name: *const c_char,
    value: *const c_char,
) -> i32 {
    catch_panic(
        |_| Code::Internal as i32,
        || {
            // SAFETY: header rules 1 and 4: valid, and used by one thread at a time.
            let Some(options) = (unsafe { options.as_mut() }) else {
                return Code::Invalid as i32;
            };
            // SAFETY: header rule 3.
            let set = unsafe { text_arg(name, "name") }.and_then(|name| {
                let value = unsafe { text_arg(value, "value") }?;
                options.config.set(name, value)
            });
            match set {
                Ok(()) => Code::Ok as i32,
                Err(error) => {
                    let code = error.code as i32;
                    options.error.get_or_insert(error);
                    code
                }
            }
        },
    )
}

/// Returns all options: an ARRAY of maps with "name", "type", "default", "range", "unit",
/// "per_handle" (1 if rdc_with() can change it) and "help". Does no I/O. The caller frees the
/// reply.
#[unsafe(no_mangle)]
pub extern "C" fn rdc_options_list() -> *mut rdc_reply {
    return_reply(|| {
        let mut out = Builder::new();
        for row in options() {
            let at = out.depth();
            out.text("name").text(row.name);
            out.text("type").text(row.kind());
            out.text("default").text(row.default());
            out.text("range").text(row.range());
            out.text("unit").text(row.unit);
            out.text("per_handle").int(i64::from(row.per_handle));
            out.text("help").text(row.help);
            out.aggregate(Kind::Map, at);
        }
        out.aggregate(Kind::Array, 0);
        Ok(Box::new(out.finish()))
    })
}

/// Frees options. Does nothing for NULL.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_options_free(options: *mut rdc_options) {
    if !options.is_null() {
        // SAFETY: header rule 1: made by rdc_options_new and not freed before.
        drop(unsafe { Box::from_raw(options) });
    }
}
