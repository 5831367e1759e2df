// SPDX-License-Identifier: Apache-2.0

/// A weight in the form in which a packed checkpoint keeps it.
package struct PackedTensor: Hashable, Sendable {
  package enum Form: Hashable, Sendable {
    /// As products read it.
    case panels(PanelLayout)
    /// Element by element, row-major.
    case elements(ElementType)
  }

  package let weight: Weight
  package let form: Form

  package init(_ weight: Weight, _ form: Form) {
    self.weight = weight
    self.form = form
  }

  package var byteCount: Int {
    switch form {
    case .panels(let layout): layout.byteCount
    case .elements(let type): weight.elementCount * type.size
    }
  }
}
