"""The conformance suite: cases by what they test, the catalogue of requirements, the deviations known of engines."""
