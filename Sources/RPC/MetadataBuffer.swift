// SPDX-License-Identifier: Apache-2.0

internal import CGRPC

/// Metadata in C-core's form, alive until the operation that sends it has completed.
final class MetadataBuffer {
  let elements: UnsafeMutablePointer<grpc_metadata>
  let count: Int

  init(_ metadata: Metadata) {
    count = metadata.entries.count
    elements = .allocate(capacity: max(count, 1))
    for (index, entry) in metadata.entries.enumerated() {
      var element = grpc_metadata()
      element.key = makeSlice(entry.key.utf8)
      element.value = makeSlice(entry.value)
      (elements + index).initialize(to: element)
    }
  }

  deinit {
    for index in 0..<count {
      grpc_slice_unref(elements[index].key)
      grpc_slice_unref(elements[index].value)
    }
    elements.deallocate()
  }
}

extension Metadata {
  /// A copy of what C-core received.
  init(_ array: grpc_metadata_array) {
    self.init()
    for index in 0..<array.count {
      let element = array.metadata[index]
      appendUnchecked(text(of: element.key), bytes(of: element.value))
    }
  }
}
