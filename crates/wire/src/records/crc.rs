/// CRC-32C, the checksum of batches v2.
#[cfg(not(feature = "crc-fast"))]
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC-32C, the checksum of batches v2.
#[cfg(feature = "crc-fast")]
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    // Checksums of up to 64 bits share one type.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
