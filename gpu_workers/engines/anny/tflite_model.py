"""One TFLite model on the CPU (XNNPACK), safe to call from several threads."""

import queue
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TfliteModel:
    """A model with one input.

    Args:
        content: the .tflite file's bytes.
        threads: CPU threads of one run.
        copies: runs at once; a further one waits.
    """

    def __init__(self, content: bytes, threads: int = 1, copies: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(copies):
            interpreter = Interpreter(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
            self._free.put(interpreter)
        self._input = interpreter.get_input_details()[0]["index"]
        self._outputs = {d["name"]: d["index"] for d in interpreter.get_output_details()}

    def run(self, values: NDArray[np.floating]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs by name.

        Args:
            values: the input, of the model's shape.
        """
        interpreter = self._free.get()
        try:
            interpreter.set_tensor(self._input, np.ascontiguousarray(values, dtype=np.float32))
            interpreter.invoke()
            return {name: interpreter.get_tensor(index) for name, index in self._outputs.items()}
        finally:
            self._free.put(interpreter)
