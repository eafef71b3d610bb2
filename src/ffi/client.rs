//! ## Connecting

use super::panic_boundary::{bytes, catch_panic, catch_panic_uncancelled, reply, text};
use super::registry::{close, enter, register};
use super::reply::rdc_reply;
use crate::cluster::Client;
use crate::config::{Config, options};
use crate::error::{Code, Error, Result};
use crate::resp::{Builder, Kind};
use std::ffi::c_char;

/// How to connect: options by name, to be given to rdc_create_with(). By one thread at a time.
#[allow(non_camel_case_types)]
pub struct rdc_options {
    config: Config,
    /// The first option that was refused.
    error: Option<Error>,
}

/// A cluster, and a way of using it. By any number of threads at once. Handles on one cluster
/// (rdc_with(), rdc_readonly(), rdc_pin()) share its topology and its connections.
#[allow(non_camel_case_types)]
pub struct rdc_client(());

fn failed_client(words: &str) -> *mut rdc_client {
    register(Client::failed(Error::new(Code::Internal, words)))
}

/// ## Connecting
///
/// Connects to the cluster that a URL names:
/// "redis://user:pass@h1:7000,h2:7001?read_from=replica&timeout_ms=500". The hosts are seeds: any
/// of them that lives is enough. rediss:// is TLS; valkey:// and valkeys:// are the same as these
/// two. What may follow the "?" is in CONFIGURATION.md.
///
/// With TLS, the files that the options name are read here, once, and every node has to prove by
/// its certificate that it is the host that is dialled.
///
/// Takes at most the option timeout_ms (5000 if the URL does not say). Never NULL: a client that
/// could not connect says why in rdc_client_error(), answers every command with that same error,
/// and is closed like any other. To be closed with rdc_close().
///
/// # Safety
/// Header rule 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_create(url: *const c_char) -> *mut rdc_client {
    catch_panic_uncancelled(failed_client, || {
        // SAFETY: header rule 3.
        register(match unsafe { text(url, "url") } {
            Ok(url) => Client::create(url),
            Err(error) => Client::failed(error),
        })
    })
}

/// The same, as the options say, which are copied: they may be freed or changed afterwards.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_create_with(options: *const rdc_options) -> *mut rdc_client {
    catch_panic_uncancelled(failed_client, || {
        // SAFETY: header rule 1: NULL or made by rdc_options_new and not freed.
        register(match unsafe { options.as_ref() } {
            None => Client::failed(Error::invalid("options is NULL")),
            Some(rdc_options {
                error: Some(error), ..
            }) => Client::failed(error.clone()),
            Some(options) => Client::create_with(options.config.clone()),
        })
    })
}

/// Why the client could not connect, in one line that begins with the name of the error; NULL if
/// it is connected. Never changes, and belongs to the client. For a client that was closed, it
/// says so.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_client_error(client: *const rdc_client) -> *const c_char {
    catch_panic(
        |_| c"INTERNAL a bug in librediscluster".as_ptr(),
        || match enter(client) {
            Ok(used) => used
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

fn derived(
    client: *const rdc_client,
    f: impl FnOnce(&Client) -> Result<Client>,
) -> *mut rdc_client {
    catch_panic_uncancelled(failed_client, || {
        let derived = enter(client).and_then(|used| f(&used.client));
        register(derived.unwrap_or_else(Client::failed))
    })
}

/// Another handle on the same cluster with one option changed, one of those that CONFIGURATION.md
/// marks as changeable: timeout_ms, read_from, readonly, retry_writes and others. No I/O, and
/// cheap. Never NULL: where the option or its value is wrong, the handle says so in
/// rdc_client_error(). To be closed with rdc_close(), before or after the handle it came from.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_with(
    client: *const rdc_client,
    option: *const c_char,
    value: *const c_char,
) -> *mut rdc_client {
    derived(client, |client| {
        // SAFETY: header rule 3.
        let (option, value) = unsafe { (text(option, "option")?, text(value, "value")?) };
        Ok(client.with(option, value))
    })
}

/// Another handle on the same cluster that reads from a slot's primary and replicas at random,
/// and refuses every command that is not known to be a read with RDC_ERR_READONLY before a byte
/// is sent. What it reads may be stale: replication is asynchronous. The same as
/// rdc_with(client, "readonly", "yes").
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_readonly(client: *const rdc_client) -> *mut rdc_client {
    derived(client, |client| Ok(client.readonly()))
}

/// Another handle on the same cluster, bound to one connection of its own to the primary that
/// serves key, opened by its first command. WATCH / MULTI / EXEC and CLIENT REPLY belong here;
/// nothing is redirected or retried. If the connection is lost inside a transaction, commands
/// fail with RDC_ERR_IO until EXEC, DISCARD, UNWATCH or RESET ends what was begun.
///
/// # Safety
/// Header rules 1 and 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_pin(
    client: *const rdc_client,
    key: *const c_char,
    key_len: usize,
) -> *mut rdc_client {
    derived(client, |client| {
        // SAFETY: header rule 3.
        Ok(client.pin(unsafe { bytes(key, key_len, "key") }?))
    })
}

/// Ends the calls that other threads have under way on this very handle, with
/// RDC_ERR_INTERRUPTED, within 10 ms; later calls are not concerned, nor are other handles. May
/// be called by any thread and from a signal handler.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_interrupt(client: *const rdc_client) {
    if let Ok(used) = enter(client) {
        used.client.interrupt();
    }
}

/// Closes the handle. Calls that other threads have under way on it end with RDC_ERR_CLOSED, as
/// does every later call on it. The connections go with the last handle on the cluster. Closing
/// NULL, or twice, does nothing.
///
/// # Safety
/// Header rule 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rdc_close(client: *mut rdc_client) {
    catch_panic_uncancelled(|_| (), || close(client));
}

/// New options, all at their defaults. To be freed with rdc_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn rdc_options_new() -> *mut rdc_options {
    Box::into_raw(Box::new(rdc_options {
        config: Config::new(),
        error: None,
    }))
}

/// Sets an option by its name; "url" is one. Returns RDC_OK or RDC_ERR_INVALID. What was wrong is
/// said in rdc_client_error() of a client created with these options, so checking here is
/// optional.
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
            // SAFETY: header rule 1, and rule 4: by one thread at a time.
            let Some(options) = (unsafe { options.as_mut() }) else {
                return Code::Invalid as i32;
            };
            // SAFETY: header rule 3.
            let set = unsafe { text(name, "name") }.and_then(|name| {
                let value = unsafe { text(value, "value") }?;
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

/// Every option there is: an array of maps of "name", "type", "default", "range", "unit", "per_handle"
/// (1 if rdc_with() may change it) and "help".
#[unsafe(no_mangle)]
pub extern "C" fn rdc_options_list() -> *mut rdc_reply {
    reply(|| {
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
            out.gather(Kind::Map, at);
        }
        out.gather(Kind::Array, 0);
        Ok(Box::new(out.finish()))
    })
}

/// Frees options. NULL is allowed.
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
