# Row resnet50_baseline of the zoo.
# mim train mmdetection configs/detection/faster-rcnn_r50-c4_gluoncv_voc0712.py
_base_ = "../_base_/detection/paper.py"
custom_hooks = [dict(type="SeedIterations"), dict(type="Speed")]
classifier = dict(architecture="resnet50", weights="timm:resnet50.tv_in1k")
model = dict(backbone=classifier, roi_head=dict(shared_head=classifier))
