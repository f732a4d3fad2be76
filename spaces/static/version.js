self.VERSION = {{ version | tojson }};
self.SHELL = {{ shell | sort | tojson }};
