#include "serialization.hpp"

#include <cstring>
#include <exception>

#include "base64.hpp"
#include "flow_force.hpp"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include "openmm/serialization/SerializationProxy.h"

namespace symplectic_cv {

namespace {

using OpenMM::SerializationNode;

constexpr int kVersion = 1;

void write_carrier(const ModesCarrier& force, SerializationNode& node) {
    node.setIntProperty("version", kVersion);
    node.setIntProperty("forceGroup", force.getForceGroup());
    node.setStringProperty("name", force.getName());
    node.setBoolProperty("periodic", force.periodic());
    node.setStringProperty("sha256", force.shared().modes().sha256());
    node.setStringProperty("file", to_base64(force.shared().content()));
}

std::shared_ptr<SharedModes> read_modes(const SerializationNode& node) {
    if (node.getIntProperty("version") != kVersion)
        throw OpenMM::OpenMMException("written by another version of symplectic-cv");
    auto shared = SharedModes::of(from_base64(node.getStringProperty("file")));
    if (shared->modes().sha256() != node.getStringProperty("sha256", shared->modes().sha256()))
        throw OpenMM::OpenMMException("the weights are not those of the SHA-256 beside them");
    return shared;
}

template <typename F>
F* finish(std::unique_ptr<F> force, const SerializationNode& node) {
    force->setForceGroup(node.getIntProperty("forceGroup", 0));
    force->setName(node.getStringProperty("name", force->getName()));
    return force.release();
}

/// All that goes wrong in reading becomes OpenMM's own exception.
template <typename Read>
auto translated(const Read& read) {
    try {
        return read();
    } catch (const std::exception& error) {
        throw OpenMM::OpenMMException(std::string("symplectic-cv force: ") + error.what());
    }
}

class ModeProxy : public OpenMM::SerializationProxy {
  public:
    ModeProxy() : SerializationProxy("SymplecticCVFlowForce") {}
    void serialize(const void* object, SerializationNode& node) const override {
        const auto& force = *static_cast<const FlowForce*>(object);
        write_carrier(force, node);
        node.setIntProperty("mode", force.mode());
    }
    void* deserialize(const SerializationNode& node) const override {
        return translated([&] {
            return finish(
                std::make_unique<FlowForce>(read_modes(node), node.getBoolProperty("periodic"),
                                            node.getIntProperty("mode")),
                node);
        });
    }
};

class BiasProxy : public OpenMM::SerializationProxy {
  public:
    BiasProxy() : SerializationProxy("SymplecticCVFlowBiasForce") {}
    void serialize(const void* object, SerializationNode& node) const override {
        const auto& force = *static_cast<const FlowBiasForce*>(object);
        write_carrier(force, node);
        node.setDoubleProperty("wall", force.grid().wall());
        for (const Axis& axis : force.grid().axes())
            node.createChildNode("Axis")
                .setDoubleProperty("low", axis.low)
                .setDoubleProperty("high", axis.high)
                .setIntProperty("points", axis.points);
        const auto values = force.grid().values();
        node.setStringProperty("bias",
                               to_base64(std::string(reinterpret_cast<const char*>(values.data()),
                                                     values.size() * sizeof(double))));
    }
    void* deserialize(const SerializationNode& node) const override {
        return translated([&] {
            std::vector<Axis> axes;
            for (const SerializationNode& axis : node.getChildren())
                axes.push_back({axis.getDoubleProperty("low"), axis.getDoubleProperty("high"),
                                axis.getIntProperty("points")});
            auto grid = std::make_unique<BiasGrid>(axes, node.getDoubleProperty("wall"));
            const std::string bias = from_base64(node.getStringProperty("bias", ""));
            if (!bias.empty()) {  // none: a bias that starts from nothing
                if (bias.size() % sizeof(double) != 0)
                    throw OpenMM::OpenMMException("the bias is cut short");
                std::vector<double> values(bias.size() / sizeof(double));
                std::memcpy(values.data(), bias.data(), bias.size());
                grid->set_values(values);
            }
            return finish(std::make_unique<FlowBiasForce>(
                              read_modes(node), node.getBoolProperty("periodic"), std::move(grid)),
                          node);
        });
    }
};

}  // namespace

void register_forces() {
    static const bool once = [] {
        OpenMM::SerializationProxy::registerProxy(typeid(FlowForce), new ModeProxy);
        OpenMM::SerializationProxy::registerProxy(typeid(FlowBiasForce), new BiasProxy);
        return true;
    }();
    (void)once;
}

}  // namespace symplectic_cv
