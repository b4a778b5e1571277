"""A VOC annotation."""

from __future__ import annotations

XML = """<annotation>
  <folder>VOC2012</folder>
  <source><database>The VOC2008 Database</database></source>
  <size><width>500</width><height>375</height><depth>3</depth></size>
  <segmented>0</segmented>
  <object>
    <name>person</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
    <bndbox><xmin>45.70</xmin><ymin>1</ymin><xmax>300</xmax><ymax>375.0</ymax></bndbox>
    <part><name>head</name>
      <bndbox><xmin>60</xmin><ymin>2</ymin><xmax>90</xmax><ymax>40</ymax></bndbox></part>
  </object>
  <object>
    <bndbox><ymin>7</ymin><xmin>8</xmin><ymax>9</ymax><xmax>10</xmax></bndbox>
    <name> dog </name><difficult>1</difficult>
  </object>
</annotation>
"""
