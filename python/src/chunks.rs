//! Cutting modules into chunks, and encoding them.

use std::num::NonZeroU32;

use fastcdc::v2020::{AVERAGE_MAX, AVERAGE_MIN, FastCDC, MAXIMUM_MAX, MINIMUM_MIN};
use propeller_proxy::delivery::plan::ChunkPlan;
use propeller_proxy::mqtt::chunk::Encoder;
use propeller_proxy::oci::digest::Digest;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Ratio of the average size of a content-defined chunk to the smallest, and of the largest to the average.
const SPREAD: usize = 4;

/// The ends of the chunks of `data`, in bytes: at multiples of `size`, or content-defined (`FastCDC`, average `size`).
#[pyfunction]
pub(crate) fn cut(py: Python<'_>, data: &[u8], size: usize, method: &str) -> PyResult<Vec<u64>> {
    match method {
        "fixed" => {
            let size = u32::try_from(size).ok().and_then(NonZeroU32::new);
            let size = size.ok_or_else(|| PyValueError::new_err("size is a number of bytes from 1 to 4294967295"))?;
            Ok(py.detach(|| {
                let plan = ChunkPlan::new(data.len() as u64, size);
                let end = |index| {
                    let (begin, length) = plan.chunk(index);
                    begin + u64::from(length)
                };
                (0..plan.total_chunks()).map(end).collect()
            }))
        }
        "content-defined" if !(AVERAGE_MIN..=AVERAGE_MAX).contains(&size) => {
            let message =
                format!("size is a number of bytes from {AVERAGE_MIN} to {AVERAGE_MAX} for content-defined chunks");
            Err(PyValueError::new_err(message))
        }
        "content-defined" => Ok(py.detach(|| {
            let (smallest, largest) = ((size / SPREAD).max(MINIMUM_MIN), (size * SPREAD).min(MAXIMUM_MAX));
            FastCDC::new(data, smallest, size, largest).map(|chunk| (chunk.offset + chunk.length) as u64).collect()
        })),
        _ => Err(PyValueError::new_err(format!("{method:?} is no method; give fixed or content-defined"))),
    }
}

fn part(data: &[u8], begin: usize, end: usize) -> PyResult<&[u8]> {
    data.get(begin..end).ok_or_else(|| PyValueError::new_err("no such part of the module"))
}

/// The digest of the bytes from `begin` to `end`.
#[pyfunction]
pub(crate) fn digest(py: Python<'_>, data: &[u8], begin: usize, end: usize) -> PyResult<String> {
    let part = part(data, begin, end)?;
    Ok(py.detach(|| Digest::of(part)).to_string())
}

/// The MQTT message of the chunk from `begin` to `end` (wire protocol 1).
#[pyfunction]
pub(crate) fn encode<'py>(
    py: Python<'py>,
    app_name: &str,
    index: u64,
    total_chunks: u64,
    data: &[u8],
    begin: usize,
    end: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let part = part(data, begin, end)?;
    let message = py.detach(|| Encoder::new(app_name, total_chunks).message(index, part));
    Ok(PyBytes::new(py, &message))
}

/// The size of the message of a chunk with `size` bytes of data.
#[pyfunction]
pub(crate) fn message_size(app_name: &str, index: u64, total_chunks: u64, size: u32) -> usize {
    Encoder::new(app_name, total_chunks).size(index, size)
}
