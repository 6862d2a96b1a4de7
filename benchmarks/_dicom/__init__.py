"""What the DICOM benchmarks share: inputs with their verdicts, what the headers state, readers, scores."""
