"""How inputs reach a graph on a card and results leave it; images on their way to a file."""

import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.graphed_function import GraphedFunction, Resident
from gpu_workers.head.runtime.host_transfer import (
    encode_jpeg_on_device,
    send_filtered_bands,
    to_device,
    to_host,
)
from tests.cuda.parity import assert_like
from tests.cuda.scene import astronaut


def mix(first: Tensor, second: Tensor, third: Tensor, factor: float) -> dict[str, Tensor]:
    return {"sum": first.double() + second.sum() + third, "scaled": factor * third}


def inputs(device: torch.device, seed: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return neighbours of several types on the host, and one on the card."""
    random = torch.Generator().manual_seed(seed)
    return (
        torch.randint(0, 255, (size,), dtype=torch.uint8, generator=random),
        torch.rand(7, 3, generator=random).double(),
        torch.rand(size, generator=random).to(device),
    )


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_a_graph_reads_each_callers_inputs_and_results_are_kept(runtime: DeviceRuntime, batch: int) -> None:
    graphed = GraphedFunction(mix, runtime.faces, keep=2)
    given = [inputs(runtime.device, seed, 1000 + batch) for seed in range(batch)]
    kept = [graphed(*one, 2.0) for one in given]
    fetched = [graphed.fetch(*one, 2.0) for one in given]
    for one, found, host in zip(given, kept, fetched, strict=True):
        expected = mix(one[0], one[1], one[2].cpu(), 2.0)
        for name, value in expected.items():
            torch.testing.assert_close(found[name].cpu(), value)
            torch.testing.assert_close(host[name], value)
            assert host[name].device.type == "cpu"


def test_graphs_that_went_are_captured_again(runtime: DeviceRuntime) -> None:
    graphed = GraphedFunction(mix, runtime.faces, keep=2)
    for size in (10, 20, 30, 10, 20, 30):
        one = inputs(runtime.device, size, size)
        expected = mix(one[0], one[1], one[2].cpu(), 0.5)
        torch.testing.assert_close(graphed.fetch(*one, 0.5), expected)


def test_a_resident_tensor_is_read_where_it_lies(runtime: DeviceRuntime) -> None:
    graphed = GraphedFunction(lambda place, factor: place * factor, runtime.faces)
    place = torch.ones(5, device=runtime.device)
    for value in (1.0, 4.0):
        place.fill_(value)
        assert graphed.fetch(Resident(place), torch.tensor(3.0)).tolist() == [3 * value] * 5


def test_threads_on_streams_of_their_own_share_a_graph(runtime: DeviceRuntime) -> None:
    graphed = GraphedFunction(mix, runtime.faces)
    wrong: list[str] = []

    def work(number: int) -> None:
        with runtime.beside(f"lane {number}"):
            for turn in range(60):
                one = inputs(runtime.device, 100 * number + turn, 200_000)
                found = to_host(graphed(*one, 1.0))
                expected = mix(one[0], one[1], one[2].cpu(), 1.0)
                apart = max(float((found[name] - value).abs().max()) for name, value in expected.items())
                if apart > 1e-9:
                    wrong.append(f"thread {number}, turn {turn}: {apart:g}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]


def test_copies_to_the_card_and_back_are_exact(device: torch.device) -> None:
    array = np.random.default_rng(1).integers(0, 60000, (313, 77), dtype=np.uint16)
    sent = to_device(array, device)
    assert sent.device == device
    found = to_host({"maps": [sent, sent[::2]], "name": "kept"})
    np.testing.assert_array_equal(found["maps"][0].numpy(), array)
    np.testing.assert_array_equal(found["maps"][1].numpy(), array[::2])
    assert found["name"] == "kept"


@pytest.mark.parametrize("bands", [1, 3, 7])
def test_filtered_bands_are_those_of_the_host(device: torch.device, bands: int) -> None:
    picture = torch.from_numpy(astronaut())
    found = np.concatenate([band.wait() for band in send_filtered_bands(picture.to(device), bands)])
    expected = np.concatenate([band.wait() for band in send_filtered_bands(picture, bands)])
    np.testing.assert_array_equal(found, expected)


def test_a_jpeg_of_the_card_is_as_good_as_pillows(device: torch.device) -> None:
    """4:4:4 at quality 95: no more than a decibel farther from the picture than Pillow's."""
    picture = astronaut()
    encoded = encode_jpeg_on_device(torch.from_numpy(picture).to(device))
    if encoded is None:
        pytest.skip("torchvision is not installed here: JPEGs are made on the host")
    image = Image.open(io.BytesIO(encoded))
    assert image.size == (512, 512)
    assert image.layer[0][1:3] == (1, 1), f"chroma is subsampled: {image.layer}"
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95, subsampling=0)
    plain = np.asarray(Image.open(buffer)).astype(float)
    error = 10 * np.log10(255**2 / np.mean((plain - picture) ** 2))
    print(f"{len(encoded)} bytes on the card, {buffer.tell()} by Pillow, whose PSNR is {error:.1f} dB")
    assert_like("JPEG", np.asarray(image), picture, decibels=error - 1)
