//! A daemon whose runtime stands still, while its other threads go on.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Stops each thread of the runtime as a debugger does (`ptrace(2)`, `PTRACE_SEIZE` and `PTRACE_INTERRUPT`), and waits for
/// the end of its input; the threads go on when it ends.
const TRACER: &str = "
import ctypes, os, pathlib, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for task in pathlib.Path(f'/proc/{sys.argv[1]}/task').iterdir():
    if (task / 'comm').read_text().startswith('tokio'):
        for request in (0x4206, 0x4207):
            if ptrace(request, int(task.name), None, None) != 0:
                sys.exit(os.strerror(ctypes.get_errno()))
print('frozen', flush=True)
sys.stdin.read()
";

/// The threads of the runtime of a process; they go on when it is thawed.
pub struct Frozen(Child);

impl Frozen {
    /// Freezes the runtime of the process `pid`.
    pub async fn new(pid: u32) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", TRACER, &pid.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut tracer = command.spawn().expect("run python3");
        let mut said = String::new();
        let output = tracer.stdout.as_mut().expect("its standard output");
        BufReader::new(output).read_line(&mut said).await.expect("a line");
        assert_eq!(said, "frozen\n", "the threads cannot be traced");
        Self(tracer)
    }

    /// Lets the threads go on.
    pub async fn thaw(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().await.expect("the end of the tracer").success());
    }
}
