# aws.json in HCL2, for Packer 1.6.6 and newer (from 1.14 on: packer plugins install github.com/hashicorp/amazon).
# Credentials come from the environment, the shared files or the instance's role, never from variables.

packer {
  required_version = ">= 1.6.6"
}

# --- The article's variables.

variable "base_image" {
  type        = string
  description = "The AMI to build from."
  validation {
    condition     = substr(var.base_image, 0, 4) == "ami-"
    error_message = "The base_image is the id of an AMI, such as ami-c7d092f7."
  }
}

variable "new_image" {
  type        = string
  description = "The new AMI's name; the time is added."
}

variable "script" {
  type        = string
  default     = "bootstrap.sh"
  description = "The bootstrap script beside this file."
}

variable "script_args" {
  type        = string
  default     = ""
  description = "Its arguments: more packages of the distribution."
}

# --- Where and how it is built.

variable "region" {
  type    = string
  default = "us-west-2"
}

variable "vpc_id" {
  type    = string
  default = ""
}

variable "subnet_id" {
  type    = string
  default = ""
}

variable "instance_type" {
  type    = string
  default = "t2.micro"
}

variable "iam_instance_profile" {
  type    = string
  default = ""
}

variable "ssh_username" {
  type        = string
  default     = "centos"
  description = "Amazon Linux: ec2-user; Debian: admin."
}

variable "root_device" {
  type        = string
  default     = "/dev/sda1"
  description = "The base image's root; Amazon Linux and Debian: /dev/xvda."
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "What the volumes are encrypted with; by default the account's key for EBS."
}

variable "project" {
  type    = string
  default = "demo"
}

variable "imdsv2" {
  type        = string
  default     = "required"
  description = "See require_imdsv2.sh: required, try or optional."
}

# --- What is baked.

variable "rpm_directory" {
  type        = string
  default     = ""
  description = "RPM files to upload; by default the directory rpms beside this file."
}

variable "repository" {
  type        = string
  default     = ""
  description = "Base URL of a yum repository, for packages that are not among them."
}

variable "repository_key" {
  type    = string
  default = ""
}

variable "agent_package" {
  type    = string
  default = "dualdeploy"
}

variable "service_package" {
  type    = string
  default = "dualdeploy-sample"
}

variable "service_unit" {
  type        = string
  default     = ""
  description = "By default the package's only unit."
}

variable "service_image" {
  type    = string
  default = "dualdeploy-sample:latest"
}

variable "service_source" {
  type        = string
  default     = "/usr/share/dualdeploy-sample"
  description = "Git URL of the service's source, or a directory that its RPM brings."
}

variable "service_revision" {
  type        = string
  default     = ""
  description = "Commit or tag; by default what the RPM says."
}

variable "service_moving" {
  type        = string
  default     = ""
  description = "The word yes: service_revision may be a branch."
}

variable "service_context" {
  type    = string
  default = "."
}

variable "service_parity" {
  type        = string
  default     = "on"
  description = "Off: RPM and image need not be of the same revision."
}

variable "seal_command" {
  type    = string
  default = "dualctl seal"
}

locals {
  rpms     = var.rpm_directory != "" ? var.rpm_directory : "${path.root}/rpms"
  uploads  = "/var/tmp/dualdeploy-bake"
  as_root  = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E '{{ .Path }}'"
  revision = var.service_revision != "" ? var.service_revision : "of the package"
}

source "amazon-ebs" "dual" {
  region               = var.region
  vpc_id               = var.vpc_id
  subnet_id            = var.subnet_id
  instance_type        = var.instance_type
  iam_instance_profile = var.iam_instance_profile
  source_ami           = var.base_image

  ami_name        = "${var.new_image} {{timestamp}}"
  ami_description = "dual deployment: ${var.service_package} as RPM and as container ${var.service_image}"

  ssh_username = var.ssh_username
  ssh_pty      = true

  # Encrypted while it is built, and as the AMI. Without this line the AMI would be as its base is.
  encrypt_boot = true
  kms_key_id   = var.kms_key_id
  launch_block_device_mappings {
    device_name           = var.root_device
    volume_size           = 30
    volume_type           = "gp3"
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    delete_on_termination = true
  }
  # Packer 1.6.6 has neither metadata_options nor imds_support: see the post-processor.

  tags = {
    Name             = var.new_image
    project          = var.project
    base-image       = var.base_image
    service          = var.service_package
    service-source   = var.service_source
    service-revision = local.revision
  }
  snapshot_tags   = { project = var.project }
  run_tags        = { project = var.project }
  run_volume_tags = { project = var.project }
}

build {
  sources = ["source.amazon-ebs.dual"]

  provisioner "shell" {
    inline = ["mkdir -p ${local.uploads}"]
  }
  provisioner "file" {
    source      = "${local.rpms}/"
    destination = local.uploads
  }
  provisioner "shell" {
    environment_vars = [
      "BAKE_REPOSITORY=${var.repository}",
      "BAKE_REPOSITORY_KEY=${var.repository_key}",
      "AGENT_PACKAGE=${var.agent_package}",
    ]
    execute_command = "${local.as_root} ${var.script_args}"
    script          = "${path.root}/${var.script}"
  }
  # Waits for the end rather than returning while the machine is still up.
  provisioner "shell" {
    inline            = ["echo 'Rebooting for bootstrap changes to take effect.'; sudo systemctl reboot; sleep 120"]
    expect_disconnect = true
  }
  provisioner "shell" {
    pause_before = "10s"
    environment_vars = [
      "BAKE_REPOSITORY=${var.repository}",
      "SERVICE_PACKAGE=${var.service_package}",
      "SERVICE_UNIT=${var.service_unit}",
    ]
    execute_command = local.as_root
    script          = "${path.root}/install_service_rpm.sh"
  }
  provisioner "shell" {
    environment_vars = [
      "SERVICE_PACKAGE=${var.service_package}",
      "SERVICE_SOURCE=${var.service_source}",
      "SERVICE_REVISION=${var.service_revision}",
      "SERVICE_MOVING=${var.service_moving}",
      "SERVICE_CONTEXT=${var.service_context}",
      "SERVICE_IMAGE=${var.service_image}",
      "SERVICE_PARITY=${var.service_parity}",
    ]
    execute_command = local.as_root
    script          = "${path.root}/build_service_container.sh"
  }
  # Last: what it wipes must not come back.
  provisioner "shell" {
    inline = ["sudo rm -rf ${local.uploads}", "sudo ${var.seal_command}"]
  }

  post-processors {
    post-processor "manifest" {
      output = "packer-manifest.json"
    }
    post-processor "shell-local" {
      environment_vars = ["IMDSV2=${var.imdsv2}"]
      inline           = ["'${path.root}/require_imdsv2.sh' packer-manifest.json"]
    }
  }
}
