"""Graphs as TensorFlow's messages: GraphDef and MetaGraphDef, written and read."""
