//! Server processes and their directory; neither outlives this process.
//!
//! A server must die with the process that started it, however that ends: return, panic, Ctrl-C, `kill -9`. Linux
//! offers `PR_SET_PDEATHSIG` for this, but sends the signal when the *thread* that forked ends, and a test is a
//! thread. So one thread forks all servers: it starts with the first server and lives as long as the process. This
//! needs no watchdog process, which could itself be left behind. SIGKILL also ends stopped servers.
//!
//! The kernel does not remove files. Drop does, and an `atexit` handler for clusters in statics. What a killed process
//! left is removed by the next start, which detects it by an flock(2) that no process holds.

use crate::admin::{Admin, Login};
use crate::error::{Error, Result, fail};
use crate::find::Found;
use crate::freezer::Freezer;
use crate::ports::Port;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError, Weak, mpsc};
use std::time::{Duration, Instant, SystemTime};

const PREFIX: &str = "rdc-test-";

/// A server's Unix socket, in its directory.
pub(crate) const SOCKET: &str = "socket";

/// A panic elsewhere must not prevent the stop of a server.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory with servers; its end stops them and removes it.
#[derive(Debug)]
pub(crate) struct Home {
    pub path: PathBuf,
    /// Held with flock; whoever gets the lock knows that this process has ended.
    _lock: File,
    owner: u32,
    processes: Mutex<Vec<Arc<Process>>>,
}

impl Home {
    pub fn new() -> Result<Arc<Home>> {
        let temp = std::env::temp_dir();
        sweep(&temp);
        let (path, lock) = create(&temp)
            .map_err(|e| Error::new(format!("{}: cannot make a directory: {e}", temp.display())))?;
        let home = Arc::new(Home {
            path,
            _lock: lock,
            owner: std::process::id(),
            processes: Mutex::default(),
        });
        static EXIT: Once = Once::new();
        // SAFETY: the handler is a plain function that lives as long as the program.
        EXIT.call_once(|| unsafe {
            libc::atexit(end_all);
        });
        lock_homes().push(Arc::downgrade(&home));
        Ok(home)
    }

    pub fn add(&self, process: Arc<Process>) {
        lock(&self.processes).push(process);
    }

    pub fn end(&self) {
        // A forked child inherits the value, but the servers belong to the parent.
        if self.owner != std::process::id() {
            return;
        }
        for process in lock(&self.processes).drain(..) {
            process.kill();
        }
        // The next start removes what is left.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock_homes() -> MutexGuard<'static, Vec<Weak<Home>>> {
    static HOMES: Mutex<Vec<Weak<Home>>> = Mutex::new(Vec::new());
    let mut homes = lock(&HOMES);
    homes.retain(|home| home.strong_count() > 0);
    homes
}

extern "C" fn end_all() {
    let homes: Vec<_> = lock_homes().iter().filter_map(Weak::upgrade).collect();
    for home in homes {
        home.end();
    }
}

fn create(temp: &Path) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = now.map_or(0, |d| d.subsec_nanos());
        let path = temp.join(format!("{PREFIX}{}-{n}-{nanos:x}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
        }
        let lock = File::create(path.join("lock"))?;
        // A clean-up may have happened between the two steps; then another directory is tried.
        if try_flock(&lock) && path.join("lock").exists() {
            return Ok((path, lock));
        }
    }
}

fn sweep(temp: &Path) {
    let Ok(entries) = fs::read_dir(temp) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // No lock file: the directory is being made. No permission: it belongs to another user.
        if let Ok(lock) = File::open(entry.path().join("lock"))
            && try_flock(&lock)
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn try_flock(file: &File) -> bool {
    // SAFETY: flock takes a descriptor.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Starts a program that dies with this process; see the module documentation.
fn spawn(mut command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let parent = std::process::id();
    // A separate process group: otherwise Ctrl-C on a terminal would stop the servers before their user.
    command.process_group(0);
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the line above.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            unblock_signals();
            Ok(())
        });
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for (mut command, done) in queue {
                    // The receiver waits until it has the answer.
                    let _ = done.send(command.spawn());
                }
            })
            .expect("a thread to start servers from");
        Mutex::new(jobs)
    });
    let (done, wait) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts servers has ended");
    lock(spawner).send((command, done)).map_err(|_| gone(()))?;
    wait.recv().map_err(|_| gone(()))?
}

/// A blocked signal stays blocked across exec, and std does not unblock it.
pub(crate) fn unblock_signals() {
    // SAFETY: the set is on this stack; both calls are async-signal-safe.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// One server: its ports, its directory, and its process if it runs.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its IP address.
    pub host: String,
    pub port: Port,
    pub bus: Option<Port>,
    pub tls: Option<Port>,
    pub login: Option<Login>,
    program: PathBuf,
    pub dir: PathBuf,
    /// The Unix socket for administration, if it is not administered at its address.
    socket: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    stopped: bool,
    frozen: Option<Freezer>,
}

impl Process {
    /// `config` is the whole configuration file.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        program: &Found,
        dir: PathBuf,
        host: &str,
        port: Port,
        bus: Option<Port>,
        tls: Option<Port>,
        login: Option<Login>,
        config: &str,
    ) -> Result<Process> {
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(dir.join("server.conf"), config))
            .map_err(|e| Error::new(format!("{}: {e}", dir.display())))?;
        let socket = dir.join(SOCKET);
        let line = format!("\nunixsocket {}\n", socket.display());
        Ok(Process {
            host: host.to_string(),
            socket: config.contains(&line).then_some(socket),
            port,
            bus,
            tls,
            login,
            program: program.path.clone(),
            dir,
            state: Mutex::default(),
        })
    }

    pub fn start(&self) -> Result<()> {
        self.start_with("server.conf")
    }

    /// Starts it with another configuration file of its directory.
    pub fn start_with(&self, config: &str) -> Result<()> {
        let mut state = lock(&self.state);
        if state.child.is_some() {
            fail!("{} is running already", self.name());
        }
        let run = || -> io::Result<Child> {
            let log = File::options()
                .create(true)
                .append(true)
                .open(self.log_path())?;
            let mut command = Command::new(&self.program);
            command
                .arg(self.dir.join(config))
                .current_dir(&self.dir)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log);
            spawn(command)
        };
        match run() {
            Ok(child) => {
                *state = State {
                    child: Some(child),
                    ..State::default()
                };
                Ok(())
            }
            Err(e) => fail!("cannot run {}: {e}", self.program.display()),
        }
    }

    /// Waits until the server answers, has loaded its data, and is the process that was started here.
    pub fn wait_ready(&self, deadline: Instant) -> Result<()> {
        loop {
            let mut last = match self.info("") {
                Ok(info) => {
                    let theirs = info_field(&info, "process_id").unwrap_or_default();
                    let ours = self.pid().unwrap_or_default();
                    if theirs != ours.to_string() {
                        fail!(
                            "{} is answered by process {theirs}, which is not ours ({ours}): \
                             another server has that port",
                            self.name()
                        );
                    }
                    if info_field(&info, "loading").is_none_or(|l| l == "0") {
                        return Ok(());
                    }
                    "it is loading its data".to_string()
                }
                Err(e) => e.to_string(),
            };
            if !self.exists() {
                lock(&self.state).child = None;
                fail!("{} did not start: {}", self.name(), self.last_log_line());
            }
            if Instant::now() > deadline {
                last.truncate(200);
                fail!("{} is not ready in time: {last}", self.name());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port.number)
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn last_log_line(&self) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<_> = log.lines().filter(|l| !l.trim().is_empty()).collect();
        // Redis ends with "Failed listening on port ..., exiting." and gives the reason one line before; a bad
        // configuration is reported as `>>> 'the line'` and then the reason.
        lines[lines.len().saturating_sub(2)..].join(" | ")
    }

    /// The process id while it runs or is stopped.
    pub fn pid(&self) -> Option<u32> {
        lock(&self.state).child.as_ref().map(Child::id)
    }

    /// Whether the process exists and was not stopped here.
    pub fn is_live(&self) -> bool {
        self.exists() && !self.is_stopped()
    }

    pub fn is_stopped(&self) -> bool {
        lock(&self.state).stopped
    }

    /// Whether the process exists; a process that ended by itself (SHUTDOWN, a crash) is detected here.
    pub fn exists(&self) -> bool {
        match &mut lock(&self.state).child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => false,
        }
    }

    /// Sends SIGKILL and waits for the end. False if there was no process.
    pub fn kill(&self) -> bool {
        let mut state = lock(&self.state);
        state.stopped = false;
        // A frozen process in a version 1 control group cannot be killed.
        state.frozen = None;
        let Some(mut child) = state.child.take() else {
            return false;
        };
        let alive = matches!(child.try_wait(), Ok(None));
        // A signal to a process that has just ended fails, and the wait reaps it.
        let _ = child.kill();
        let _ = child.wait();
        alive
    }

    pub fn pause(&self, stop: bool) -> Result<()> {
        let mut state = lock(&self.state);
        let Some(child) = state.child.as_mut() else {
            fail!("{} is not running", self.name());
        };
        let signal = if stop { libc::SIGSTOP } else { libc::SIGCONT };
        // SAFETY: kill takes numbers; the child is not reaped yet, so its id is not reused.
        if unsafe { libc::kill(child.id() as libc::pid_t, signal) } != 0 {
            fail!("{}: {}", self.name(), io::Error::last_os_error());
        }
        state.stopped = stop;
        if !stop {
            state.frozen = None;
        }
        Ok(())
    }

    /// Freezes its control group until it is resumed.
    pub fn freeze(&self) -> Result<()> {
        let mut state = lock(&self.state);
        let Some(pid) = state.child.as_ref().map(Child::id) else {
            fail!("{} is not running", self.name());
        };
        state.frozen = Some(Freezer::freeze(pid)?);
        state.stopped = true;
        Ok(())
    }

    pub fn connect(&self, wait: Duration) -> Result<Admin> {
        let mut admin = match &self.socket {
            Some(path) => Admin::connect_unix(path, wait)?,
            None => Admin::connect(self.port.number, wait)?,
        };
        if let Some(login) = &self.login {
            admin.login(login)?;
        }
        Ok(admin)
    }

    pub fn info(&self, section: &str) -> Result<String> {
        let mut admin = self.connect(Duration::from_secs(1))?;
        let reply = match section {
            "" => admin.command(&["INFO"])?,
            _ => admin.command(&["INFO", section])?,
        };
        match reply.is_error() {
            true => fail!("{}: INFO: {}", self.name(), reply.text()),
            false => Ok(reply.text()),
        }
    }
}

/// One `name:value` line of INFO.
pub(crate) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}
