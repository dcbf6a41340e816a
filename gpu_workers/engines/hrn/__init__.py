"""Engine `hrn`: ModelScope's cv_resnet50_face-reconstruction (HRN, CVPR 2023), stage by stage.

Its libraries are those of the extra `hrn`, its weights the operator's own (docs/how-to/engines.md): the Basel
Face Model in them is for non-commercial research only.
"""
