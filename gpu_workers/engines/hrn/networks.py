"""ModelScope's network classes, without weights; each call imports what it needs (environment.py first)."""

from torch import nn


def coefficient_network() -> nn.Module:
    """Return the ResNet-50 from a face (1, 3, 224, 224) to coefficients (1, 257)."""
    from modelscope.models.cv.face_reconstruction.models.networks import define_net_recon

    network: nn.Module = define_net_recon(net_recon="resnet50", use_last_fc=False, init_path=None)
    return network


def detail_network(channels_in: int, channels_out: int) -> nn.Module:
    """Return the generator that finds details in UV maps: 6 to 3 channels mid, 9 to 1 high frequencies."""
    from modelscope.models.cv.face_reconstruction.models.pix2pix.pix2pix_model import Pix2PixModel
    from modelscope.models.cv.face_reconstruction.models.pix2pix.pix2pix_options import Pix2PixOptions

    options = Pix2PixOptions()
    options.input_nc, options.output_nc = channels_in, channels_out
    network: nn.Module = Pix2PixModel(options).netG
    return network


def retouching_network() -> nn.Module:
    """Return the U-Net that undoes retouching."""
    from modelscope.models.cv.face_reconstruction.models.unet import UNet

    network: nn.Module = UNet(3, 3)
    return network


def landmark_network() -> nn.Module:
    """Return the network of 106 landmarks."""
    from modelscope.models.cv.face_reconstruction.models.facelandmark.nets.large_base_lmks_net import (
        LargeBaseLmksNet,
    )

    network: nn.Module = LargeBaseLmksNet(infer=False)
    return network


def face_detector() -> nn.Module:
    """Return RetinaFace."""
    from modelscope.models.cv.skin_retouching.retinaface.network import RetinaFace

    layers = {"layer2": 1, "layer3": 2, "layer4": 3}
    network: nn.Module = RetinaFace("Resnet50", False, 256, layers, 256)
    return network


def square_detector() -> nn.Module:
    """Return S3FD, the detector in front of the 68 landmarks."""
    from face_alignment.detection.sfd.net_s3fd import s3fd

    network: nn.Module = s3fd()
    return network
