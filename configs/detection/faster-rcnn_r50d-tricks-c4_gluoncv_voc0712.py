# Row resnet50d_tricks of the zoo: resnet50d_mixup, the strongest row with public weights.
# mim train mmdetection configs/detection/faster-rcnn_r50d-tricks-c4_gluoncv_voc0712.py
_base_ = "../_base_/detection/paper.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
classifier = dict(architecture="resnet50d", weights="timm:resnet50d.gluon_in1k")
model = dict(backbone=classifier, roi_head=dict(shared_head=classifier))
