{
  "variables": { "sanitize%": "" },
  "targets": [
    {
      "target_name": "vmm_kvm",
      "sources": ["native/addon.cc"],
      "defines": [
        "NAPI_VERSION=8",
        "NODE_ADDON_API_CPP_EXCEPTIONS_ALL",
        # Otherwise what cannot be thrown any more, because the worker is being terminated, ends the process.
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"
      ],
      "cflags_cc": [
        # Node's own headers and node-addon-api do not pass these warnings.
        "-isystem<(node_root_dir)/include/node",
        "-isystem<!(node -p \"require('node:path').resolve(require('node-addon-api').include_dir)\")",
        "-std=c++20",
        "-fexceptions",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Wshadow",
        "-Wconversion",
        "-Wsign-conversion",
        "-Werror"
      ],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "include_dirs!": ["<(node_root_dir)/include/node", "<(node_root_dir)/src", "<(node_root_dir)/deps/uv/include"],
      # A signal handler stays installed when the last environment that uses the addon has gone.
      "ldflags": ["-Wl,-z,nodelete", "-Wl,-z,now", "-Wl,-z,relro"],
      "conditions": [
        ["sanitize != ''", {
          "cflags_cc": ["-fsanitize=<(sanitize)", "-fno-omit-frame-pointer", "-g1", "-O1"],
          "ldflags": ["-fsanitize=<(sanitize)"]
        }]
      ]
    }
  ]
}
