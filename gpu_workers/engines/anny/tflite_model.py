"""One TFLite model on the CPU (XNNPACK), safe to call from several threads."""

import threading

import numpy as np
from numpy.typing import NDArray


class TfliteModel:
    """A model with one input.

    Args:
        content: the .tflite file's bytes.
        threads: CPU threads of one run.
    """

    def __init__(self, content: bytes, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {d["name"]: d["index"] for d in self._interpreter.get_output_details()}
        self._lock = threading.Lock()

    def run(self, values: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs by name.

        Args:
            values: the input, of the model's shape.
        """
        with self._lock:
            self._interpreter.set_tensor(self._input, np.ascontiguousarray(values, dtype=np.float32))
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}
