from transfer.operators import stand_in

stand_in.install()  # before a test's module imports mmcv.ops
