"""The manual's requirements and the deviations known of engines."""
