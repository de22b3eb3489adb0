"""The SVM instructions as volume 3 has them: opcodes, operands, modes, flags."""
