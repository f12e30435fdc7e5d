"""`lateen deploy` of a SAM or CloudFormation template: what Lateen has of it is deployed, the rest is named."""
