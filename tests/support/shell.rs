//! Daemons that a shell prepares for, and then becomes.

use tokio::process::Command;

use crate::support::clients::daemon::BINARY;

/// A shell that may mount file systems, of which nobody else takes notice.
pub const MOUNTING: &[&str] = &["unshare", "--map-root-user", "--mount", "sh"];

/// Whether this user may run [`MOUNTING`]; some systems and containers forbid it.
pub async fn may_mount() -> bool {
    let folder = tempfile::tempdir().expect("a folder to mount on");
    let mut command = Command::new(MOUNTING[0]);
    command.args(&MOUNTING[1..]).args(["-c", "mount -t tmpfs tmpfs \"$0\""]).arg(folder.path());
    let permitted = command.output().await.is_ok_and(|output| output.status.success());
    if !permitted {
        eprintln!("skipped in part: this user may not mount file systems");
    }
    permitted
}

/// Returns a command that runs a line of shell and then becomes the daemon.
pub fn after(shell: &[&str], line: &str) -> Command {
    let (program, arguments) = shell.split_first().expect("a shell");
    let mut command = Command::new(program);
    command.args(arguments).args(["-c", &format!("{line} && exec \"$0\""), BINARY]);
    command
}
