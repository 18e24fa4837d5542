//! `propeller-proxy request`: acts as a proplet: requests a module and assembles its chunks.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use propeller_proxy::config::positive_duration;
use propeller_proxy::device::{Assembled, Proplet, RequestOptions};
use propeller_proxy::error::Error;
use propeller_proxy::mqtt::BrokerOptions;
use propeller_proxy::mqtt::topic::Channels;
use propeller_proxy::oci::digest::Digest;
use tempfile::NamedTempFile;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::channel::{self, Topics};
use crate::failure::Failure;
use crate::settings::Flags;
use crate::shutdown::unless_stopped;
use crate::verbosity::Verbosity;
use crate::{exit, logging, output, progress};

const EXAMPLES: &[&str] = &[
    "propeller-proxy request localhost:5000/add:1.0 -o add.wasm",
    "propeller-proxy request add:1.0 --digest sha256:4d5e… --timeout 2m -o add.wasm",
    "propeller-proxy request add:1.0 --layout messages | wasm-tools print",
];

/// How often progress is read.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The mode of a new file, before the user's umask.
const FILE_MODE: u32 = 0o666;

#[derive(Debug, Args)]
#[command(after_help = exit::help(EXAMPLES, exit::OF_BROKER))]
pub(crate) struct Options {
    /// What to ask for
    #[arg(value_name = "REF")]
    reference: String,
    /// Where to write the module; standard output if not given
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How long to wait for the module
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// What the module must be; else it is compared with what the proxy tells on the status topic
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    digest: Option<Digest>,
    /// The channel, if several are configured
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// The topics on which to ask and listen
    #[arg(long, value_enum, default_value_t)]
    layout: Topics,
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(flatten)]
    settings: Flags<(BrokerOptions, Channels)>,
}

fn duration(text: &str) -> Result<Duration, String> {
    positive_duration(text).ok_or_else(|| "give a duration over zero such as 60s or 1m30s".into())
}

fn digest(text: &str) -> Result<Digest, String> {
    text.parse().map_err(|()| "give sha256: and 64 hexadecimal digits".into())
}

pub(crate) async fn run(options: Options, stop: CancellationToken) -> Result<u8, Failure> {
    options.verbosity.start_log();
    let file = options.output.as_deref().filter(|file| *file != Path::new("-"));
    if file.is_none() && io::stdout().is_terminal() {
        let message = "the module is binary, and standard output is a terminal".into();
        return Err(Failure::Other(exit::USAGE, message, Some("give -o FILE, or redirect standard output".into())));
    }
    let unwritable = |error: io::Error| {
        let file = file.unwrap_or(Path::new("-"));
        Failure::of_system(&format!("{} cannot be written", file.display()), &error)
    };
    let (mqtt, channels) = options.settings.load()?;
    let channel = channel::choose(&channels, options.channel.as_deref())?;
    let output = file.map(|file| block_in_place(|| Output::open(file))).transpose().map_err(unwritable)?;
    let assembled = async {
        let proplet = Proplet::connect(&mqtt, &channel, options.layout.into()).await?;
        let assembled = obtain(&proplet, &options).await;
        proplet.close().await;
        Ok(assembled?)
    };
    let Assembled { pieces, digest, is_verified } = unless_stopped(&stop, assembled).await?;
    let size: usize = pieces.iter().map(Vec::len).sum();
    match output {
        // It is a matter of a moment, after which the file is as it was or as it should be.
        Some(output) => block_in_place(|| output.write(&pieces)).map_err(unwritable)?,
        None => pieces.iter().try_for_each(|piece| output::print(piece))?,
    }
    let written = format!("{size} bytes, {digest}");
    if is_verified {
        options.verbosity.print_message(&format!("{written}, verified"));
    } else {
        // This is printed also when it is quiet.
        logging::print(&format!("warning: {written}, not verified: no proxy told its digest, and --digest gave none"));
    }
    Ok(exit::SUCCESS)
}

/// Requests the module, and shows the progress.
async fn obtain(proplet: &Proplet, options: &Options) -> Result<Assembled, Error> {
    let Options { reference, timeout, digest, verbosity, .. } = options;
    let request = RequestOptions { timeout: *timeout, digest: *digest, is_strict: false };
    let bar = progress::of_chunks(&progress::bars(*verbosity), reference);
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    let mut obtained = std::pin::pin!(proplet.obtain(reference, &request));
    loop {
        tokio::select! {
            obtained = &mut obtained => return obtained,
            _ = look.tick() => {
                let (chunks, total_chunks) = proplet.progress(reference);
                progress::note(&bar, chunks, total_chunks);
            }
        }
    }
}

/// Where the module goes.
enum Output {
    /// A device or a pipe, which stays what it is.
    Stream(File),
    /// A file that is never incomplete: a new one replaces it once it is written.
    Whole(PathBuf, NamedTempFile),
}

impl Output {
    /// Opens a file, so that no module is requested that cannot be written. Links are followed: what they lead to is replaced.
    fn open(file: &Path) -> io::Result<Self> {
        if fs::metadata(file).is_ok_and(|about| !about.is_file()) {
            return OpenOptions::new().write(true).open(file).map(Self::Stream);
        }
        let file = if fs::symlink_metadata(file).is_ok() { fs::canonicalize(file)? } else { file.to_owned() };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let permissions = Permissions::from_mode(FILE_MODE);
        let new = tempfile::Builder::new().prefix(".propeller-proxy-").permissions(permissions).tempfile_in(folder)?;
        Ok(Self::Whole(file, new))
    }

    fn write(self, pieces: &[Vec<u8>]) -> io::Result<()> {
        let write_to = |to: &mut dyn Write| pieces.iter().try_for_each(|piece| to.write_all(piece));
        match self {
            Self::Stream(mut file) => write_to(&mut file),
            Self::Whole(file, mut new) => {
                write_to(new.as_file_mut())?;
                new.as_file().sync_all()?;
                new.persist(file).map(drop).map_err(|error| error.error)
            }
        }
    }
}
